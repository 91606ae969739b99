// The cuda backend: all operations on an NVIDIA GPU. For files that nvcc compiles (-std=c++20
// --expt-relaxed-constexpr); link subbit::cuda.
#pragma once

#include <subbit/backend/cuda/device.cuh>
#include <subbit/backend/cuda/instructions.cuh>
#include <subbit/backend/gpu.hpp>
#include <subbit/backend/gpu/instances.hpp>

namespace subbit {

using cuda = gpu_backend<cuda_device>;

#if defined(SUBBIT_COMPILED_GPU)
SUBBIT_GPU_INSTANCES(extern, cuda, float)
SUBBIT_GPU_INSTANCES(extern, cuda, double)
#endif

}  // namespace subbit
