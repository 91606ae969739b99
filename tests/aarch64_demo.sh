#!/usr/bin/env bash
# The program as it is built for 64-bit ARM, run by qemu: a small compression of the demo model, its perplexity on both sets
# of kernels, and a few tokens. The full demo would take an emulated processor the best part of an hour.
#
#   tests/aarch64_demo.sh [PROGRAM...]      default: qemu-aarch64 and the program of the preset aarch64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=("$@")
if [ $# -eq 0 ]; then
    program=(qemu-aarch64 build/aarch64/examples/llama_compress/llama_compress)
    [ -e /lib/ld-linux-aarch64.so.1 ] || program=(qemu-aarch64 -L /usr/aarch64-linux-gnu "${program[1]}")
fi
model=examples/llama_compress/demo_model
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

perplexity() {
    local isa=$1
    shift
    SUBBIT_ISA=$isa "${program[@]}" perplexity "$@" --text $model/test.txt --context 64 --max-windows 8 --threads 1 --json |
        sed -n 's/.*"perplexity": *\([0-9.]*\).*/\1/p'
}
# between LEAST VALUE MOST WHAT
between() {
    awk -v least="$1" -v value="$2" -v most="$3" 'BEGIN { exit !(least <= value && value <= most) }' && return
    echo "$4 is $2, expected $1 to $3" >&2
    exit 1
}

"${program[@]}" info
widest=$("${program[@]}" info --json | sed -n 's/.*"widest_instructions": "\(.*\)".*/\1/p')
"${program[@]}" compress $model --text $model/calibration.txt --out "$out/model" --recipe tuned --bits 1 --windows 8 \
    --window-tokens 64 --iterations 20 --epochs 1 --distill-epochs 1 --threads 1

original=$(perplexity "$widest" $model)
compressed=$(perplexity "$widest" "$out/model")
portable=$(perplexity portable "$out/model")
rounded=$(perplexity "$widest" "$out/model" --packed-products int8)
echo "perplexity: original $original; 1 bit $compressed, by portable kernels $portable, with 8-bit tables $rounded"
between 1 "$original" 20 "the original's perplexity"
between "$original" "$compressed" 300 "the compressed model's perplexity"
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.6f", a / b }'; }
between 0.9999 "$(ratio "$compressed" "$portable")" 1.0001 "$widest over portable"
between 0.99 "$(ratio "$rounded" "$compressed")" 1.01 "8-bit tables over exact"

SUBBIT_ISA=$widest "${program[@]}" generate "$out/model" --prompt "Anna has a red" --max-tokens 12 --threads 1
