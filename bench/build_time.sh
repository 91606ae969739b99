#!/usr/bin/env bash
# Wall and processor seconds of what a newcomer builds, from nothing and without a compiler cache, for each revision.
#
#   bench/build_time.sh [-s STEP]... [REVISION...]      default: every step, of HEAD
#
#   release          configure and build the preset `release`, without CUDA
#   release-cuda     the same with CUDA (only where nvcc is found)
#   demo             examples/demo.sh, which builds the program and runs its demo
#   include          g++ -O2 of a file that includes <subbit/subbit.hpp> and nothing else, header-only
#   call             the same, with one call of lb_admm
#   include-compiled, call-compiled      those of a file that links subbit::compiled
#
# Run it on an idle machine: wall times mean nothing otherwise. Revisions are checked out in build/time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

steps=()
while getopts s: option; do
    case $option in
        s) steps+=("$OPTARG") ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ ${#steps[@]} -gt 0 ] || steps=(release release-cuda demo include call include-compiled call-compiled)
[ $# -gt 0 ] || set -- HEAD

export CCACHE_DISABLE=1
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
here=$PWD/build/time
mkdir -p "$here"

cat >"$here/include.cpp" <<'TEXT'
#include <subbit/subbit.hpp>
TEXT
cat >"$here/call.cpp" <<'TEXT'
#include <subbit/subbit.hpp>

subbit::low_rank_binary_linear<float> compress(const subbit::matrix<float>& W) {
    const subbit::cpu backend;
    return subbit::lb_admm(backend, W, {.rank = 8}).pack();
}
TEXT

build() { cmake --preset release "$1" && cmake --build --preset release; }

# compile FILE [options]: what a user's compiler gets.
compile() {
    local file=$1
    shift
    g++ -std=c++20 -O2 -fopenmp-simd -Iinclude "$@" -isystem "$eigen" -c "$here/$file.cpp" -o "$here/$file.o"
}
eigen=$(pkg-config --variable=includedir eigen3 2>/dev/null || true)/eigen3
[ -f "$eigen/Eigen/Core" ] || eigen=/usr/include/eigen3

run() {
    case $1 in
        release) build -DSUBBIT_WITH_CUDA=OFF ;;
        release-cuda) build -DSUBBIT_WITH_CUDA=ON ;;
        demo) bash examples/demo.sh ;;
        include | call) compile "$1" ;;
        include-compiled | call-compiled) compile "${1%-compiled}" -DSUBBIT_COMPILED ;;
        *)
            echo "build_time.sh: no step is called $1" >&2
            exit 2
            ;;
    esac
}

printf '%-12s %-18s %10s %12s\n' revision step "wall s" "processor s"
for revision in "$@"; do
    commit=$(git rev-parse --short "$revision^{commit}")
    checkout=$here/$commit
    rm -rf "$checkout"
    mkdir -p "$checkout"
    git archive "$commit" | tar x -C "$checkout"
    for step in "${steps[@]}"; do
        if [ "$step" = release-cuda ] && ! command -v nvcc >/dev/null; then
            echo "release-cuda skipped: no nvcc" >&2
            continue
        fi
        rm -rf "$checkout/build"
        TIMEFORMAT='%R %U %S'
        if ! times=$({ time { (cd "$checkout" && run "$step") >"$here/$commit-$step.log" 2>&1; }; } 2>&1); then
            echo "build_time.sh: $step of $revision failed: $here/$commit-$step.log" >&2
            exit 1
        fi
        read -r wall user system <<<"$times"
        printf '%-12s %-18s %10.1f %12.1f\n' "$commit" "$step" "$wall" \
            "$(awk "BEGIN {print $user + $system}")"
    done
    rm -rf "$checkout"
done
