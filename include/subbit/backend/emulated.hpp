// The GPU backend without a GPU: the same kernels on the host, block by block. It finds errors in kernels, and does not
// measure their time.
#pragma once

#include <subbit/backend/emulated/device.hpp>
#include <subbit/backend/emulated/instructions.hpp>
#include <subbit/backend/gpu.hpp>

namespace subbit {

using emulated = gpu_backend<emulated_device>;

}  // namespace subbit
