#!/usr/bin/env bash
# Perplexity of llama.cpp's smallest quantizations of SmolLM2-135M-Instruct, for the picture of curve.py.
#
#   bench/accuracy/peers.sh TEXT OUT.json [PROGRAM]
#
# The first 32 windows of 512 tokens of TEXT. The first call needs PyPI: cyllama, whose llama.cpp quantizes, and gguf, which
# reads the result, go into a virtual environment in build/peers. PROGRAM is the llama_compress that measures (default: the
# release preset's).
set -euo pipefail

name=peers.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../peers/fetch.sh"
[ $# -ge 2 ] && [ $# -le 3 ] || fail "usage: peers.sh TEXT OUT.json [PROGRAM]"
[ -f "$1" ] || fail "$1 is not there"
program=${3:-$here/../../build/release/examples/llama_compress/llama_compress}
[ -x "$program" ] || fail "$program is not there: build the release preset, or name the program"

fetch_package cyllama 0.2.18
fetch_package gguf 0.19.0
fetch_smollm2_gguf
exec "$folder/venv/bin/python" "$here/peers.py" "$gguf" "$program" "$1" "$2"
