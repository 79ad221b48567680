#!/usr/bin/env bash
# Measures the CUDA back-end on a machine that has a GPU but neither Node.js nor npm nor a network.
#   scripts/gpu-check.sh pack                  here: writes build/gpu-check (this script and a payload, together at most 60 MiB); the
#                                              first time it trains on the CPU what will be trained there, for minutes
#   bash gpu-check.sh run [RESULTS.json]       there, in a copy of that folder: selftest, compute-sanitizer, benchmarks and the same steps in
#                                              PyTorch (of HUBERTKIT_PYTHON or python3), in less than nine minutes; writes RESULTS.json
#                                              (default: results.json beside this script). Exit code 1 unless every part went well.
# What the parts are stands in bench/gpu-check.ts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "$@" >&2; }
fail() { say "hubertkit: $1"; exit 1; }
has() { command -v "$1" >/dev/null; }

# The shared libraries that files need, without those that come with glibc: these must be the machine's own.
libraries() {
  ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | grep -Ev '/(libc|libm|libdl|librt|libpthread|libresolv|libutil)\.so'
}

pack() {
  cd "$here/.."
  has xz && has strip || fail "xz and strip are needed: apt-get install xz-utils binutils."
  bash scripts/bootstrap.sh
  npm run --silent build:cuda >&2
  npm run --silent bench:curves -- --prepare >&2
  local out=build/gpu-check native=build/cmake/Release node modules size
  stage=$(mktemp -d)
  trap 'rm -rf "$stage"' EXIT
  node=$(node -p process.execPath)
  mkdir -p "$stage/lib" "$stage/hubertkit/$native" "$stage/hubertkit/bench"
  strip -o "$stage/node" "$node"
  libraries "$node" "$native/hubertkit.node" | xargs -I{} cp -L {} "$stage/lib"
  cp "$native/hubertkit.node" "$native/libhubertkit_cuda.so" "$stage/hubertkit/$native"
  cp package.json "$stage/hubertkit"
  cp -r bench/peers "$stage/hubertkit/bench"
  cp -r build/curves "$stage/hubertkit/build"
  modules=$(npm ls --omit=dev --all --parseable | grep -o 'node_modules/.*')
  tar -c --exclude='*.map' --exclude='*.ts' --exclude='*.mts' --exclude='*.cts' --exclude='*.md' --exclude=.tsbuildinfo --exclude=dist/test \
    --exclude='echarts/dist/echarts.*.js' --exclude='echarts/dist/echarts.*.mjs' dist $modules | tar -x -C "$stage/hubertkit"
  printf '{ "commit": "%s", "packed": "%s" }\n' "$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)" \
    "$(date -u +%FT%TZ)" >"$stage/hubertkit/build.json"
  rm -rf "$out"
  mkdir -p "$out"
  cp "$here/gpu-check.sh" "$out"
  tar -c -C "$stage" . | xz -6 -T0 >"$out/payload.tar.xz"
  size=$(du -sk "$out" | cut -f1)
  [ "$size" -le $((60 * 1024)) ] || fail "$out is $((size / 1024)) MiB; at most 60 were meant to be carried."
  say "$out: $((size / 1024)) MiB. Copy it to the machine with the GPU; there: bash gpu-check.sh run"
}

unpack() { # xz, or Python's lzma
  if has xz && has tar; then tar -xJf "$1" -C "$2"
  else "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$2"; fi
}

run() {
  export PATH="${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}"
  local results=${1:-$here/results.json} python=${HUBERTKIT_PYTHON:-python3}
  give_up() { # a results file in any case
    printf '{ "date": "%s", "complete": false, "reason": "%s" }\n' "$(date -u +%FT%TZ)" "$(tr -d '\n"\\' <<<"$1")" >"$results"
    fail "$1"
  }
  [ -f "$here/payload.tar.xz" ] || fail "there is no payload.tar.xz beside this script: scripts/gpu-check.sh pack makes it, in build/gpu-check."
  : >"$results" || fail "$results cannot be written."
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  local said
  said=$(unpack "$here/payload.tar.xz" "$work" 2>&1) || give_up "the payload could not be unpacked: $said"
  if [ -z "${HUBERTKIT_CUBLASLT:-}" ]; then # the one that PyTorch uses, if it came with it
    said=$("$python" -c 'import glob, sys; print(*[f for p in sys.path for f in glob.glob(p + "/nvidia/*/lib/libcublasLt.so.1[23]")][:1])' 2>/dev/null) || said=
    [ -z "$said" ] || export HUBERTKIT_CUBLASLT=$said
  fi
  unset HUBERTKIT_NATIVE
  export HUBERTKIT_OUTER_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
  export LD_LIBRARY_PATH="$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export TMPDIR=$work HOME=${HOME:-$work} TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
  said=$("$work/node" --version 2>&1) || give_up "the Node.js that was packed does not start here: $said"
  local status=0
  "$work/node" "$work/hubertkit/dist/bench/gpu-check.js" "$results" || status=$?
  say "$results"
  return "$status"
}

case "${1:-}" in
  pack) pack ;;
  run) run "${2:-}" ;;
  *) fail "usage: gpu-check.sh pack, or gpu-check.sh run [RESULTS.json]" ;;
esac
