#!/usr/bin/env bash
# The whole test suite, from nothing: packages, two builds, every test, the fuzzers, a build for 64-bit ARM, format and API
# pages. Where nvcc is found, CUDA's tests are built too; they run where there is a GPU. Logs are in build/logs. The last
# line is the summary; the status is 0 only where nothing failed.
#
#   tests/run.sh            everything
#   tests/run.sh --quick    the dev build and its unit, conformance and reference tests
#
# SUBBIT_TEXT_DIR names a directory with the WikiText-2 slices (default: ../shared/data, if it is there).
# SUBBIT_SMOLLM2_DIR names a SmolLM2-135M directory that is there already; otherwise it is fetched into build/smollm2.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=no
case "${1:-}" in
    "") ;;
    --quick) quick=yes ;;
    *)
        echo "usage: tests/run.sh [--quick]" >&2
        exit 2
        ;;
esac

jobs=$(nproc)
logs=build/logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# run NAME COMMAND...: the command's output goes to its log; prints how it ended.
run() {
    local name=$1 start=$SECONDS status=0
    shift
    "$@" >"$logs/$name.log" 2>&1 || status=$?
    if [ $status -eq 0 ]; then
        echo "ok      $name ($((SECONDS - start)) s)"
    else
        echo "FAILED  $name ($((SECONDS - start)) s): $logs/$name.log ends with"
        tail -n 25 "$logs/$name.log" | sed 's/^/    /'
    fi
    return $status
}

count() { if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

# step NAME COMMAND...: one check of the summary.
step() {
    run "$@"
    count $?
}

# later NAME COMMAND... starts a step beside the others; collect waits for all of these.
declare -A later_pids=()
later() {
    run "$@" &
    later_pids[$1]=$!
}
collect() {
    local name status
    for name in "${!later_pids[@]}"; do
        status=0
        wait "${later_pids[$name]}" || status=$?
        count $status
    done
    later_pids=()
}

# failures LOG: what the failed tests printed, which ctest's list of their names, at the log's end, does not say.
failures() {
    awk '/Test +#[0-9]+:/ { show = /\*\*\*/ && !/\*\*\*(Skipped|Not Run)/ } /^ *Start +[0-9]+:/ { show = 0 } show' "$1" |
        tail -n 60 | sed 's/^/    /'
}

# tests PRESET [ctest options]: adds the numbers of ctest's own report.
tests() {
    local preset=$1 report=$PWD/$logs/ctest-$1.xml status=0
    shift
    rm -f "$report"
    run "ctest-$preset" ctest --preset "$preset" -j "$jobs" --output-junit "$report" "$@" || status=$?
    [ $status -eq 0 ] || failures "$logs/ctest-$preset.log"
    if [ ! -s "$report" ]; then
        failed=$((failed + 1))
        return
    fi
    local all bad not
    all=$(sed -n 's/.*[[:space:]]tests="\([0-9]*\)".*/\1/p' "$report" | head -n 1)
    bad=$(sed -n 's/.*failures="\([0-9]*\)".*/\1/p' "$report" | head -n 1)
    not=$(sed -n 's/.*skipped="\([0-9]*\)".*/\1/p' "$report" | head -n 1)
    [ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1  # a program that was not built counts as not run, and as failed
    failed=$((failed + bad))
    skipped=$((skipped + not))
    passed=$((passed + all - bad - not))
}

finish() {
    [ $skipped -eq 0 ] || echo "skipped: $skipped (not counted below)"
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
    exit $?
}

build() { cmake --preset "$1" && cmake --build --preset "$@"; }

check_format() {
    git ls-files '*.hpp' '*.cpp' '*.cuh' '*.cu' | xargs clang-format-14 --dry-run --Werror
}

fetch_smollm2() { bash examples/llama_compress/get_smollm2.sh "$SUBBIT_SMOLLM2_DIR"; }

# fuzz NAME: 60 seconds from the seeds in the repository; what it finds stays in build/fuzz.
fuzz() {
    local corpus=build/fuzz/$1
    mkdir -p "$corpus"
    local words=()
    [ ! -f "tests/fuzz/$1.dict" ] || words=("-dict=tests/fuzz/$1.dict")
    "build/asan/tests/fuzz/$1_fuzz" -max_total_time=60 -timeout=10 -rss_limit_mb=2048 "${words[@]}" \
        -artifact_prefix="$corpus/" "$corpus" "tests/fuzz/seeds/$1"
}

bash cmake/install_packages.sh tests || echo "going on without some packages"

if [ $quick = yes ]; then
    step build-dev build dev
    tests dev -L '^(unit|conformance|reference)$'
    finish
fi

if [ -z "${SUBBIT_SMOLLM2_DIR:-}" ]; then
    export SUBBIT_SMOLLM2_DIR=$PWD/build/smollm2
    later smollm2 fetch_smollm2
fi
# The WikiText-2 slices are not part of the repository: with them, tokens and perplexity are held against outside numbers.
[ -n "${SUBBIT_TEXT_DIR:-}" ] || ! [ -d ../shared/data ] || export SUBBIT_TEXT_DIR=$PWD/../shared/data
later format check_format
step build-dev build dev
later api-pages cmake --build --preset dev --target documentation
collect
tests dev
if ! grep -q '^CMAKE_CUDA_COMPILER:[^=]*=/' build/dev/CMakeCache.txt; then
    echo "skipped cuda: no nvcc"
    skipped=$((skipped + 1))
fi

step build-asan build asan --target all subbit_train_demo
tests asan -L '^unit$'
for name in safetensors tokenizer config folder; do
    later "fuzz-$name" fuzz "$name"
done
collect

# NEON's kernels and what they stand on, by qemu: on a processor with everything, and on one without dot products. The
# program itself takes minutes more: tests/aarch64_demo.sh.
bash cmake/install_packages.sh aarch64 || echo "going on without some packages"
if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null; then
    step build-aarch64 build aarch64 --target test_bits test_backend test_conformance
    tests aarch64 -R '^bits/|^backend/cpu(_bytes|_packed)?$|^conformance/cpu_float'
    step aarch64-neon-alone env QEMU_CPU=cortex-a53 ctest --preset aarch64 -R '^backend/cpu_(bytes|packed)$'
else
    echo "skipped aarch64: no cross-compiler or no qemu"
    skipped=$((skipped + 1))
fi

finish
