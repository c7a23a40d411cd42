#!/usr/bin/env bash
# Runs a small program under compute-sanitizer: accesses out of bounds, races, reads of what nobody wrote, and
# barriers that threads miss. Ends with an error where one is found. PYTHON=... chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PWD"
python="${PYTHON:-python3}"
if ! command -v compute-sanitizer > /dev/null; then
    echo "compute-sanitizer is not installed: it comes with the CUDA toolkit" >&2
    exit 1
fi
"$python" tools/gpu_small_program.py # compiles everything once, at full speed
for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" tools/gpu_small_program.py
done
