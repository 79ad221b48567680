#include "cuda/cublaslt.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdlib.h>

#include <string>
#include <vector>

namespace hk {
namespace lt {
namespace {

void add_matches(const std::string& pattern, std::vector<std::string>* files) {
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; i++) files->push_back(found.gl_pathv[i]);
  globfree(&found);
}

std::vector<std::string> candidates() {
  std::vector<std::string> files;
  const char* own = getenv("HUBERTKIT_CUBLASLT");
  if (own) return {own};
  const char* names[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
  for (const char* name : names) files.push_back(name);
  for (const char* name : names) {
    for (const char* folder : {"/usr/local/cuda*/lib64/", "/usr/local/cuda*/targets/*/lib/", "/opt/cuda*/lib64/"}) add_matches(std::string(folder) + name, &files);
    for (const char* python : {"/usr/lib/python3*/", "/usr/local/lib/python3*/", "/opt/*/lib/python3*/"})
      for (const char* packages : {"site-packages/", "dist-packages/", ""})
        for (const char* package : {"nvidia/cublas/lib/", "nvidia/cu1*/lib/"}) add_matches(std::string(python) + packages + package + name, &files);
  }
  return files;
}

struct Opened {
  Library functions = {};
  std::string why;
};

bool resolve(void* handle, Library* f) {
  const auto symbol = [handle](const char* name) { return dlsym(handle, (std::string("cublasLt") + name).c_str()); };
  return (f->create = (decltype(f->create))symbol("Create")) && (f->create_matmul = (decltype(f->create_matmul))symbol("MatmulDescCreate")) &&
         (f->destroy_matmul = (decltype(f->destroy_matmul))symbol("MatmulDescDestroy")) &&
         (f->set_matmul = (decltype(f->set_matmul))symbol("MatmulDescSetAttribute")) &&
         (f->create_layout = (decltype(f->create_layout))symbol("MatrixLayoutCreate")) &&
         (f->destroy_layout = (decltype(f->destroy_layout))symbol("MatrixLayoutDestroy")) &&
         (f->set_layout = (decltype(f->set_layout))symbol("MatrixLayoutSetAttribute")) &&
         (f->create_preference = (decltype(f->create_preference))symbol("MatmulPreferenceCreate")) &&
         (f->destroy_preference = (decltype(f->destroy_preference))symbol("MatmulPreferenceDestroy")) &&
         (f->set_preference = (decltype(f->set_preference))symbol("MatmulPreferenceSetAttribute")) &&
         (f->heuristics = (decltype(f->heuristics))symbol("MatmulAlgoGetHeuristic")) && (f->matmul = (decltype(f->matmul))symbol("Matmul"));
}

Opened* open() {
  Opened* opened = new Opened;
  opened->why = "cuBLASLt was not found: install the CUDA toolkit's libcublas, or set HUBERTKIT_CUBLASLT to libcublasLt.so.13 (or .12)";
  for (const std::string& file : candidates()) {
    void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) continue;
    if (resolve(handle, &opened->functions)) {
      opened->why.clear();
      return opened;
    }
    opened->why = file + " lacks functions of cuBLASLt";
  }
  return opened;
}

}  // namespace

const Library* library(const char** why) {
  static const Opened* opened = open();
  *why = opened->why.c_str();
  return opened->why.empty() ? &opened->functions : nullptr;
}

}  // namespace lt
}  // namespace hk
