#!/usr/bin/env bash
# Everything that wants a GPU, in under ten minutes: the tests, the benches that the goals compare, the program's own jobs,
# compute-sanitizer, and last the benches' other sizes.
#
#   bench/gpu/lease.sh OUT [FOLDER]
#
# FOLDER is what bench/gpu/prepare.sh made (default: build/lease/carry). OUT gets few files, for few may come back from a
# borrowed machine: summary.txt, steps.log with the end of every step's output, and the benches' JSON; each is written as the
# work goes, so that a lease cut short still brings what it had. The exit status is 3 where nothing could run, 1 where a step
# failed.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lease_steps.sh"
lease_begin "$@"

# Right first: a wrong kernel's time is worth nothing.
step tests 100 test_cuda
if grep -q 'SKIPPED: no GPU' "$work/tests.log"; then
    say "no GPU was found"
    exit 3
fi

# bench NAME PROGRAM SECONDS OPTIONS...
bench() {
    local name=$1 program=$2 limit=$3
    shift 3
    step "$name" "$limit" "$program" --benchmark_out="$out/$name.json" --benchmark_out_format=json "$@"
}
table() { python3 "$root/bench/gpu/summary.py" "$@" 2>&1 | tee -a "$summary"; }

bench packed_goals packed_gpu_bench 80 \
    --benchmark_filter='^(copy|read)/|^decode_layers|m:8192/n:8192/tokens:(1|2048)/bits_x100:100'
table "$out/packed_goals.json"
bench factor factor_gpu_bench 90
table "$out/factor.json"

# The program on the demo's model: two seeds compressed on the GPU, the first one scored and continued there and on two cores.
model=$root/examples/llama_compress/demo_model
for seed in 0 1; do
    step "compress_$seed" 60 llama_compress compress "$model" --text "$model/calibration.txt" --out "$work/packed_$seed" \
        --windows 64 --window-tokens 128 --epochs 6 --distill-epochs 4 --seed $seed --backend cuda \
        --test-text "$model/test.txt" --test-context 128 --test-windows 0
    show "compress_$seed" '^wrote|^test'
done
for backend in cuda cpu; do
    step "perplexity_$backend" 20 llama_compress perplexity "$work/packed_0" --text "$model/test.txt" --context 128 \
        --threads 2 --backend $backend
    show "perplexity_$backend" '^perplexity'
    step "generate_$backend" 20 llama_compress generate "$work/packed_0" --prompt "The" --max-tokens 100 --temperature 0 \
        --ignore-eos --threads 2 --backend $backend
    show "generate_$backend" 'tokens/s'
done

if command -v compute-sanitizer >/dev/null; then
    small=(test_cuda --test-case='*packed*,*GPU and come back*,*layers, losses*')
    for tool in memcheck racecheck; do
        step $tool 60 compute-sanitizer --tool $tool --error-exitcode 9 "${small[@]}"
    done
    step memcheck_model 40 compute-sanitizer --tool memcheck --error-exitcode 9 llama_compress perplexity "$work/packed_0" \
        --text "$model/test.txt" --context 128 --max-windows 1 --backend cuda
else
    say "compute-sanitizer was not found: not run"
fi

bench packed_all packed_gpu_bench 90
python3 "$root/bench/gpu/summary.py" "$out/packed_all.json" >>"$summary" 2>&1
exit $failed
