#!/usr/bin/env bash
# Builds what bench/gpu/lease.sh runs, here, where the packages are, and collects it in a folder that can be carried to a
# machine with a GPU that has none of them.
#
#   bench/gpu/prepare.sh [FOLDER]        default: build/lease/carry
#
# Needs nvcc and the packages of cmake/install_packages.sh tests. CMAKE_CUDA_ARCHITECTURES in the environment names the GPU's
# architecture (default 90-real, an H100).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-build/lease/carry}
programs=(tests/cuda/test_cuda bench/gpu/packed_gpu_bench bench/gpu/factor_gpu_bench examples/llama_compress/llama_compress)

cmake --preset release -B build/lease/build -DSUBBIT_WITH_CUDA=ON -DSUBBIT_BUILD_TESTS=ON -DSUBBIT_BUILD_BENCHES=ON \
    -DCMAKE_CUDA_ARCHITECTURES="${CMAKE_CUDA_ARCHITECTURES:-90-real}"
cmake --build build/lease/build --parallel "${JOBS:-2}" --target test_cuda packed_gpu_bench factor_gpu_bench llama_compress

rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib"
for program in "${programs[@]}"; do
    cp "build/lease/build/$program" "$folder/bin/"
    # What a machine with a compiler and CUDA has anyhow stays here.
    ldd "build/lease/build/$program" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
        grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+|libcu[a-zA-Z]*|libnv[a-zA-Z]*)\.so' |
        xargs -r cp -Lt "$folder/lib"
done
strip "$folder"/bin/*
cp -r examples/llama_compress/demo_model "$folder/demo_model"
du -sh "$folder"
