#!/usr/bin/env bash
# Everything that wants a GPU, in ten minutes: the tests, compute-sanitizer, the benches, and the program's own jobs.
#
#   bench/gpu/lease.sh OUT [FOLDER]
#
# FOLDER is what bench/gpu/prepare.sh made (default: build/lease/carry); where it is not there, it is made first, which needs
# that script's packages and takes minutes more. OUT gets a log of each step, the benches' JSON and summary.txt. The exit
# status is not 0 where a test or the sanitizer found something.
set -uo pipefail
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: lease.sh OUT [FOLDER]" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
folder=${2:-$root/build/lease/carry}
[ -d "$folder/bin" ] || bash "$root/bench/gpu/prepare.sh" "$folder" || exit 1
folder=$(cd "$folder" && pwd)
export LD_LIBRARY_PATH="$folder/lib:${CUDA_HOME:-/usr/local/cuda}/lib64:${LD_LIBRARY_PATH:-}"
export PATH="$folder/bin:${CUDA_HOME:-/usr/local/cuda}/bin:$PATH"
summary=$out/summary.txt
failed=0

# step NAME SECONDS COMMAND...: its output goes to OUT/NAME.log, what became of it and how long it took to the summary.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    timeout "$limit" "$@" > "$out/$name.log" 2>&1 || status=$?
    local word="ok"
    [ $status -eq 0 ] || word="FAILED ($status)"
    [ $status -ne 124 ] || word="out of its $limit s"
    printf '%-28s %4d s  %s\n' "$name" $((SECONDS - start)) "$word" | tee -a "$summary"
    return $status
}

date -u > "$summary"
nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader | tee -a "$summary"

# Right first: a wrong kernel's time is worth nothing.
step tests 100 test_cuda || failed=1
small=(test_cuda --test-case='*packed*,*GPU and come back*')
if command -v compute-sanitizer > /dev/null; then
    step memcheck 60 compute-sanitizer --tool memcheck --error-exitcode 9 "${small[@]}" || failed=1
    step racecheck 60 compute-sanitizer --tool racecheck --error-exitcode 9 "${small[@]}" || failed=1
fi

bench() {
    local name=$1 limit=$2
    shift 2
    step "$name" "$limit" "$name" --benchmark_out="$out/$name.json" --benchmark_out_format=json --benchmark_min_time=0.05 "$@"
}
bench packed_gpu_bench 130
bench factor_gpu_bench 60

# The program: the demo's model compressed, scored and continued on the GPU, and scored on the cpu to compare.
model=$folder/demo_model
step compress 80 llama_compress compress "$model" --text "$model/calibration.txt" --out "$out/packed" --backend cuda
for backend in cuda cpu; do
    step "perplexity_$backend" 20 llama_compress perplexity "$out/packed" --text "$model/test.txt" --context 128 \
        --backend "$backend"
    step "generate_$backend" 20 llama_compress generate "$out/packed" --prompt "The" --max-tokens 200 --temperature 0 \
        --ignore-eos --backend "$backend"
done

{
    echo
    for name in packed_gpu_bench factor_gpu_bench; do
        [ -f "$out/$name.json" ] && python3 "$root/bench/gpu/summary.py" "$out/$name.json"
    done
    grep -h perplexity "$out"/perplexity_*.log | tail -n 2
    grep -h tokens/s "$out"/generate_*.log
} | tee -a "$summary"
exit $failed
