#!/usr/bin/env bash
# Sets up what is missing, then runs the study: npm run demo -- [--yes] [--budget 10m] [--out runs/demo] [--json]
set -euo pipefail
cd "$(dirname "$0")/.."
consent=""
options=()
for argument in "$@"; do
  if [ "$argument" = --yes ]; then consent=--yes; else options+=("$argument"); fi
done
bash scripts/bootstrap.sh $consent
exec node dist/lib/cli/main.js demo "${options[@]}"
