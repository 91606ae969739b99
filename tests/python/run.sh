#!/usr/bin/env bash
# Exports a packed model and checks it with open_packed.py; exit status 77, for ctest's `skipped`, without Python's
# safetensors (get_smollm2.sh installs it into build/python-venv, or $SUBBIT_PYTHON_VENV).
#
#   run.sh LLAMA_COMPRESS PACKED_DIR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${SUBBIT_PYTHON_VENV:-$here/../../build/python-venv}/bin/python
"$python" -c 'import numpy, safetensors' 2>/dev/null || { echo "SKIPPED: no $python with safetensors"; exit 77; }
dense=$(mktemp -d)
trap 'rm -rf "$dense"' EXIT
"$1" export "$2" --out "$dense/model"
"$python" "$here/open_packed.py" "$2" "$dense/model"
