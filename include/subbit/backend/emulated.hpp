// The GPU backend without a GPU: the same kernels on the host, block by block. It finds errors in kernels, and does not
// measure their time.
#pragma once

#include <subbit/backend/emulated/device.hpp>
#include <subbit/backend/emulated/instructions.hpp>
#include <subbit/backend/gpu.hpp>
#include <subbit/backend/gpu/instances.hpp>

namespace subbit {

using emulated = gpu_backend<emulated_device>;

#if defined(SUBBIT_COMPILED_GPU)
SUBBIT_GPU_INSTANCES(extern, emulated, float)
SUBBIT_GPU_INSTANCES(extern, emulated, double)
#endif

}  // namespace subbit
