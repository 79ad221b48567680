{
  "targets": [
    {
      "target_name": "hubertkit",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake-js",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/cmake/Release/hubertkit.node"],
          "action": ["npx", "cmake-js", "compile", "--out", "build/cmake", "--config", "Release"]
        }
      ]
    }
  ]
}
