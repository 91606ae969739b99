#!/usr/bin/env bash
# Exports packed models, one that `compress` wrote and one that bench/shapes made, and checks them with open_packed.py; exit
# status 77, for ctest's `skipped`, without Python's safetensors (get_smollm2.sh installs it into build/python-venv, or
# $SUBBIT_PYTHON_VENV).
#
#   run.sh LLAMA_COMPRESS PACKED_DIR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${SUBBIT_PYTHON_VENV:-$here/../../build/python-venv}/bin/python
"$python" -c 'import numpy, safetensors' 2>/dev/null || { echo "SKIPPED: no $python with safetensors"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    "$1" export "$2" --out "$3"
    "$python" "$here/open_packed.py" "$2" "$3"
}
check "$1" "$2" "$work/dense"
"$python" "$here/../../bench/shapes/make_model.py" demo "$work/made"
check "$1" "$work/made" "$work/made_dense"
"$1" generate "$work/made" --prompt The --max-tokens 4 --ignore-eos
