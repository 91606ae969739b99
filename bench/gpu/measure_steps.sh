# What the steps of measure.sh are made of; sourced by it.
# shellcheck shell=bash

# measure_begin OUT: finds programs and libraries, or stops with status 2 or 3; reports the commit and the GPU.
measure_begin() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
    folder=${CARRIED:-$root/build/gpu/carry}
    [ -d "$folder/bin" ] || { echo "$folder/bin is not there: run bench/gpu/prepare.sh first, and copy its folder here" >&2; exit 2; }
    folder=$(cd "$folder" && pwd)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    summary=$out/summary.txt rows=$out/rows.jsonl
    failed=0 # the exit status of the whole

    # cuBLAS and cuSOLVER come with CUDA's toolkit, or as Python packages.
    local cuda=${CUDA_HOME:-/usr/local/cuda} packages missing
    packages=$(python3 -c 'import glob, sys
print(":".join(d for p in sys.path if p for d in glob.glob(p + "/nvidia/*/lib")))' 2>/dev/null)
    export LD_LIBRARY_PATH="$folder/lib:$cuda/lib64:$packages${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export PATH="$folder/bin:$PATH:$cuda/bin:$cuda/compute-sanitizer"

    {
        date -u
        cat "$folder/commit"
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader
    } 2>&1 | tee "$summary"
    : >"$rows"
    missing=$(ldd "$folder"/bin/* 2>&1 | grep 'not found' | sort -u)
    if [ -n "$missing" ]; then
        say "$missing"
        exit 3
    fi
}

say() { echo "$*" | tee -a "$summary"; }

# step NAME SECONDS COMMAND...: how it ended and how long it took goes to the summary, its output to steps.log. Its limit is
# SECONDS, or what is left of the whole run's time; the status is 1 if it failed.
step() {
    local name=$1 limit=$2 start=$SECONDS left=$((total - SECONDS)) status=0 word=ok
    shift 2
    if [ $left -lt 5 ]; then
        say "$(printf '%-28s         skipped: no time left' "$name")"
        failed=1
        return 1
    fi
    [ "$limit" -le $left ] || limit=$left
    timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1 || status=$?
    case $status in
        0) ;;
        124 | 137) word="out of its $limit s" ;;
        *) word="FAILED ($status)" ;;
    esac
    printf '\n==== %s\n%s\n' "$name" "$(tail -c 500000 "$work/$name.log" | tr -d '\0')" >>"$out/steps.log"
    say "$(printf '%-28s %4d s  %s' "$name" $((SECONDS - start)) "$word")"
    [ $status -ne 0 ] || return 0
    failed=1
    tail -n 8 "$work/$name.log" | cut -c1-200 | sed 's/^/    /' | tee -a "$summary"
    return 1
}

# show NAME PATTERN: the lines of a step's output that match, for the summary.
show() { LC_ALL=C grep -ahE "$2" "$work/$1.log" | sed "s/^/    $1: /" | tee -a "$summary"; }

# figure NAME VALUE UNIT: a row of the table; none if the value is empty.
figure() {
    [ -z "$2" ] || printf '{"name": "%s", "value": %s, "unit": "%s"}\n' "$1" "$2" "$3" >>"$rows"
}

# compressed NAME ROW REPORT: rows from the report that `compress` wrote, after its step.
compressed() {
    show "$1" '^wrote|^test'
    python3 - "$2" "$3" >>"$rows" <<'END'
import json, sys

row, report = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
kind, _, seed = row.partition("/")
for phase, seconds in report["seconds"].items():
    name = row if phase == "total" else f"{kind}.{phase}/{seed}"
    print(json.dumps({"name": name, "value": seconds, "unit": "s"}))
print(json.dumps({"name": f"{kind}_perplexity/{seed}", "value": report["test"]["perplexity"], "unit": ""}))
END
}

# number_in NAME EXPRESSION: the number that the expression's group finds in a step's output.
number_in() { LC_ALL=C sed -nE "s/$2/\1/p" "$work/$1.log" | head -n 1; }

# generate NAME ROW SECONDS OPTIONS...: continues a text; rows for its speed and its memory.
generate() {
    local name=$1 row=$2 limit=$3
    shift 3
    step "$name" "$limit" bash -c 'with_memory "$@"' with_memory \
        llama_compress generate "$@" --temperature 0 --ignore-eos || return 1
    show "$name" 'tokens/s|MiB'
    figure "${row}_prefill" "$(number_in "$name" '^prefill .*, ([0-9.]+) tokens.s; decode .*')" tokens/s
    figure "${row}_decode" "$(number_in "$name" '^prefill .*; decode .*, ([0-9.]+) tokens.s$')" tokens/s
    figure "${row}_gpu_memory" "$(number_in "$name" '^GPU memory: ([0-9]+) MiB$')" MiB
    figure "${row}_host_memory" "$(number_in "$name" '^host memory: ([0-9]+) MiB$')" MiB
}

# with_memory COMMAND...: runs it, and prints the peaks of the GPU's memory, of all programs together, and of its own memory
# on the host.
with_memory() {
    local pid now gpu=0 host=0 status=0
    "$@" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        now=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1)
        [ "${now:-0}" -le "$gpu" ] || gpu=$now
        now=$(sed -nE 's/^VmHWM:[^0-9]*([0-9]+) kB$/\1/p' "/proc/$pid/status" 2>/dev/null)
        [ "${now:-0}" -le "$host" ] || host=$now
        sleep 0.1
    done
    wait $pid || status=$?
    [ "$gpu" -eq 0 ] || echo "GPU memory: $gpu MiB"
    echo "host memory: $((host / 1024)) MiB"
    return $status
}
export -f with_memory
