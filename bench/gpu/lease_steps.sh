# What the scripts that run on a machine with a GPU share; sourced by them.

# lease_begin OUT [FOLDER]: finds programs and libraries, or stops with status 2 or 3; says where this is.
lease_begin() {
    [ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: $(basename "$0") OUT [FOLDER]" >&2; exit 2; }
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
    folder=${2:-$root/build/lease/carry}
    [ -d "$folder/bin" ] || { echo "$folder/bin is not there: run bench/gpu/prepare.sh first, and carry it" >&2; exit 2; }
    folder=$(cd "$folder" && pwd)
    work=$(mktemp -d)
    summary=$out/summary.txt
    failed=0

    # cuBLAS and cuSOLVER come with CUDA or, where only its compiler is, with Python's packages of them.
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
    missing=$(ldd "$folder"/bin/* 2>&1 | grep 'not found' | sort -u)
    if [ -n "$missing" ]; then
        say "$missing"
        exit 3
    fi
}

say() { echo "$*" | tee -a "$summary"; }

# step NAME SECONDS COMMAND...: what became of it and how long it took goes to the summary, its output to steps.log.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0 word=ok
    shift 2
    timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1 || status=$?
    case $status in
        0) ;;
        124 | 137) word="out of its $limit s" ;;
        *) word="FAILED ($status)" ;;
    esac
    printf '\n==== %s\n%s\n' "$name" "$(tail -c 500000 "$work/$name.log")" >>"$out/steps.log"
    say "$(printf '%-28s %4d s  %s' "$name" $((SECONDS - start)) "$word")"
    if [ $status -ne 0 ]; then
        failed=1
        tail -n 8 "$work/$name.log" | cut -c1-200 | sed 's/^/    /' | tee -a "$summary"
    fi
}

# show NAME PATTERN: the lines of a step's output that answer something.
show() { grep -hE "$2" "$work/$1.log" | sed "s/^/    $1: /" | tee -a "$summary"; }
