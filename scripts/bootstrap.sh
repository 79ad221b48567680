#!/usr/bin/env bash
# Sets up what is missing, and only that: system packages, node modules, the native build, the compiled TypeScript.
# Safe to run again. Asks once on a terminal; goes ahead with --yes or without a terminal. --tests: what the tests need too.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { echo "$@" >&2; }
fail() { say "hubertkit: $1"; exit 1; }
consent=no tests=no
for argument in "$@"; do
  case "$argument" in --yes) consent=yes ;; --tests) tests=yes ;; *) fail "$argument is no option: --yes, --tests" ;; esac
done
trap 'say "hubertkit: the set-up failed at line $LINENO of scripts/bootstrap.sh"' ERR

command -v node npm >/dev/null || fail "Node.js >= 20 with npm is needed (https://nodejs.org, or your distribution's nodejs and npm)."
[ "$(node -p 'parseInt(process.versions.node)')" -ge 20 ] || fail "Node.js >= 20 is needed, this is $(node -v)."

header() { [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ]; }
library() { pkg-config --exists "$1" 2>/dev/null; }
packages=()
command -v cmake >/dev/null      || packages+=(cmake)
command -v g++ >/dev/null        || packages+=(g++)
command -v ninja >/dev/null      || packages+=(ninja-build)
command -v pkg-config >/dev/null || packages+=(pkg-config)
header oneapi/dnnl/dnnl.h        || packages+=(libdnnl-dev)
library sndfile                  || packages+=(libsndfile1-dev)
library soxr                     || packages+=(libsoxr-dev)
header eigen3/Eigen/Dense        || packages+=(libeigen3-dev)
header flite/flite.h             || packages+=(flite1-dev)
optional=() # without it the browser tests are skipped, and say so
[ "$tests" = no ] || command -v chromium chromium-browser google-chrome >/dev/null || optional+=(chromium)

modules_fit() { # what is installed is what package-lock.json asks for
  node -e '
    const [asked, got] = ["package-lock.json", "node_modules/.package-lock.json"].map((f) => JSON.parse(require("fs").readFileSync(f)).packages);
    const fits = ([name, { version, optional }]) => !name || optional || (got[name]?.version === version && require("fs").existsSync(name));
    process.exit(Object.entries(asked).every(fits) ? 0 : 1)' 2>/dev/null
}
modules=yes
modules_fit && modules=no

wanted=("${packages[@]}" "${optional[@]}")
if [ ${#wanted[@]} -gt 0 ] || [ "$modules" = yes ]; then
  say "hubertkit needs to install:"
  [ ${#wanted[@]} -eq 0 ] || say "  system packages:  apt-get install ${wanted[*]}"
  [ "$modules" = no ] || say "  node modules:     npm ci (into ./node_modules)"
  if [ -t 0 ] && [ -t 2 ] && [ "$consent" = no ]; then
    read -r -p "Go ahead? [Y/n] " answer
    [[ "$answer" =~ ^([Yy].*)?$ ]] || fail "nothing was installed."
  fi
fi

if [ ${#wanted[@]} -gt 0 ]; then
  root=()
  [ "$(id -u)" -eq 0 ] || root=(sudo)
  install() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2; }
  if command -v apt-get >/dev/null && { [ ${#root[@]} -eq 0 ] || command -v sudo >/dev/null; }; then
    "${root[@]}" apt-get update -qq >&2 || say "hubertkit: apt-get update failed, trying with the lists there are"
    [ ${#packages[@]} -eq 0 ] || install "${packages[@]}"
    [ ${#optional[@]} -eq 0 ] || install "${optional[@]}" || say "hubertkit: ${optional[*]} could not be installed"
  elif [ ${#packages[@]} -gt 0 ]; then
    fail "these system packages are missing and cannot be installed from here (no root, no sudo or no apt-get):
  ${packages[*]}
Ask an administrator for: apt-get install ${packages[*]}
(elsewhere: CMake, a C++17 compiler, Ninja, pkg-config, oneDNN, libsndfile, libsoxr, Eigen and Flite, with headers), then run this again."
  else
    say "hubertkit: ${optional[*]} cannot be installed from here, going on without"
  fi
fi
[ "$modules" = no ] || npm ci --ignore-scripts --no-audit --no-fund >&2

if [ -f build/cmake/build.ninja ]; then # ninja decides what is out of date
  cmake --build build/cmake --config Release | grep -v 'ninja: no work to do' >&2 || [ "${PIPESTATUS[0]}" -eq 0 ]
else
  npm run --silent build:native >&2
fi
mkdir -p dist
find dist -name '*.js' | while read -r file; do # what is left of sources that are gone
  source=${file#dist/}
  [ -e "${source%.js}.ts" ] || rm -f "${file%.js}".{js,js.map,d.ts}
done
npm run --silent build:ts >&2
chmod +x dist/lib/cli/main.js
ln -sf ../../dist/lib/cli/main.js node_modules/.bin/hubertkit # so that npx finds it
