#!/bin/bash
# Fuzzes every parser of outside data: deploy/fuzz.sh RUNS
set -eu -o pipefail
cd "$(dirname "$0")/.."
runs=$1
python=${PYTHON_BIN:-.venv/bin/python}
mkdir -p build/fuzz
for name in $("$python" -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)'); do
  if "$python" -m tests.fuzz.campaign "$name" "-runs=$runs" >"build/fuzz/$name.log" 2>&1; then
    echo "$name: $(grep -oE '^Done [0-9]+ runs' "build/fuzz/$name.log" || echo 'done')"
  else
    echo "$name: failed, see build/fuzz/$name.log" >&2
    exit 1
  fi
done
