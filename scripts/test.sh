#!/usr/bin/env bash
# Sets up what is missing, then runs the tests: npm test -- [--yes] [jest options]. The last line is `N passed, N failed`.
set -euo pipefail
cd "$(dirname "$0")/.."
consent=""
[ "${1:-}" != --yes ] || { consent=--yes; shift; }
bash scripts/bootstrap.sh --tests $consent
totals=$(mktemp)
trap 'rm -f "$totals"' EXIT
status=0
node node_modules/jest/bin/jest.js -c jest.config.json --json --outputFile="$totals" "$@" >/dev/null || status=$?
node -e '
  const text = require("fs").readFileSync(process.argv[1], "utf8");
  const { numPassedTests: passed, numFailedTests, numRuntimeErrorTestSuites } = text ? JSON.parse(text) : { numPassedTests: 0, numFailedTests: 1, numRuntimeErrorTestSuites: 0 };
  console.log(`${passed} passed, ${numFailedTests + numRuntimeErrorTestSuites} failed`);' "$totals"
exit "$status"
