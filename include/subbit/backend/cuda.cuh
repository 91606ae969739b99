// The cuda backend: all operations on an NVIDIA GPU. For files that nvcc compiles (-std=c++20
// --expt-relaxed-constexpr); link subbit::cuda.
#pragma once

#include <subbit/backend/cuda/device.cuh>
#include <subbit/backend/cuda/instructions.cuh>
#include <subbit/backend/gpu.hpp>

namespace subbit {

using cuda = gpu_backend<cuda_device>;

}  // namespace subbit
