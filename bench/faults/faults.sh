#!/usr/bin/env bash
# A fault campaign on llama_compress: killed, without room on the disk, with files that shrink under it, without memory.
#
#   bench/faults/faults.sh PROGRAM MODEL TEXT [WORK]
#
# MODEL is a small model's folder, such as examples/llama_compress/demo_model, TEXT its calibration text. Each case ends well
# if the program ends with the right bits, or with status 1 and one line that says why, and if the same command without the
# fault then ends with the right bits. The last lines are a table for bench/RESULTS.md. CASES sets how many cases a row has.
set -u
program=$(realpath "$1") model=$(realpath "$2") text=$(realpath "$3")
work=${4:-$(mktemp -d)}
cases=${CASES:-20} allocations=${ALLOCATIONS:-100}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$work"
cc -shared -fPIC -O2 -o "$work/faults.so" "$here/failing_calls.c" -ldl || exit 2

options=(--text "$text" --windows 2 --window-tokens 32 --iterations 2 --epochs 1 --distill-epochs 35 --threads 2)
compress() { timeout 300 "$program" compress "$work/model" "${options[@]}" --out "$1"; }
fresh() { rm -rf "$work/model" "$work/out"; cp -r "$model" "$work/model"; chmod -R u+w "$work/model"; }

fresh
rm -rf "$work/right"
begin=$(date +%s.%N)
compress "$work/right" >/dev/null 2>&1 || exit 2
seconds=$(echo "$(date +%s.%N) - $begin" | bc)
right=$(sha256sum <"$work/right/model.safetensors")

declare -A good=() all=()
order=()
# judge ROW STATUS: how a run with a fault ended; then the same command must end with the right bits.
judge() {
    local row=$1 status=$2 ended=bad
    [ -n "${all[$row]:-}" ] || order+=("$row")
    all[$row]=$((${all[$row]:-0} + 1))
    local lines
    lines=$(grep -c '^llama_compress: ' "$work/err")
    if [ "$status" -eq 0 ] && [ "$(sha256sum <"$work/out/model.safetensors")" = "$right" ]; then
        ended=good
    elif [ "$status" -eq 1 ] && [ "$lines" -eq 1 ]; then
        ended=good
    elif [ "$row" = killed ] && [ "$status" -eq 137 ]; then
        ended=good
    fi
    rm -rf "$work/model" && cp -r "$model" "$work/model" && chmod -R u+w "$work/model"
    if ! compress "$work/out" >/dev/null 2>"$work/err2" ||
        [ "$(sha256sum <"$work/out/model.safetensors")" != "$right" ] || ls "$work/out" | grep -q '\.tmp-'; then
        ended=bad
    fi
    [ $ended = good ] && good[$row]=$((${good[$row]:-0} + 1)) && return
    echo "$row: status $status, $(tail -n 1 "$work/err"), then $(tail -n 1 "$work/err2")" >&2
}

# The table of all cases so far, also where the campaign is ended early.
table() {
    echo
    echo "| fault | cases | right bits or a clear error, and right bits after it |"
    echo "| --- | --- | --- |"
    local row
    for row in "${order[@]}"; do
        echo "| $row | ${all[$row]} | ${good[$row]:-0} |"
    done
}
trap table EXIT

# spread I N TOTAL: the I-th of N places spread over TOTAL.
spread() { echo "scale=6; $3 * ($1 - 0.5) / $2" | bc; }

for i in $(seq "$cases"); do
    fresh
    "$program" compress "$work/model" "${options[@]}" --out "$work/out" >/dev/null 2>"$work/err" &
    pid=$!
    sleep "$(spread "$i" "$cases" "$seconds")"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    judge killed $?
done

# faulty KIND AT [LASTS]: a run in which that call fails.
faulty() {
    timeout 300 env FAULT_KIND="$1" FAULT_AT="$2" ${3:+FAULT_LASTS=1} ${FAULT_COUNT:+FAULT_COUNT="$FAULT_COUNT"} \
        LD_PRELOAD="$work/faults.so" "$program" compress "$work/model" "${options[@]}" --out "$work/out" >/dev/null 2>"$work/err"
}
count() {
    fresh
    FAULT_COUNT=$work/count faulty "$1" 0
    cat "$work/count"
}

for kind in open write fsync rename; do
    total=$(count $kind)
    for i in $(seq $((cases < total ? cases : total))); do
        fresh
        at=$(spread "$i" $((cases < total ? cases : total)) "$total")
        faulty $kind $((${at%.*} + 1)) lasts
        judge "no room: $kind ($total calls)" $?
    done
done

for file in model/model.safetensors model/tokenizer.json; do
    for i in $(seq "$cases"); do
        fresh
        "$program" compress "$work/model" "${options[@]}" --out "$work/out" >/dev/null 2>"$work/err" &
        pid=$!
        sleep "$(spread "$i" "$cases" "$seconds")"
        truncate -s 100 "$work/$file"
        wait $pid 2>/dev/null
        judge "cut off: ${file##*/}" $?
    done
done

total=$(count malloc)
RANDOM=1
for lasts in "" lasts; do
    name=once
    [ -z "$lasts" ] || name="from then on"
    for i in $(seq "$allocations"); do
        fresh
        faulty malloc $(((RANDOM * 32768 + RANDOM) % total + 1)) $lasts
        judge "malloc fails ${name} ($total calls)" $?
    done
done
