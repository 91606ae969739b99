// The properties of a kernel's code on a GPU, for launches.
#pragma once

#include <subbit/backend/cuda/block.cuh>
#include <subbit/backend/cuda/error.cuh>

#include <cstddef>
#include <map>
#include <mutex>

namespace subbit::cuda_detail {

struct kernel_code {
    std::size_t most_shared = 0;  ///< bytes of shared memory that a launch may ask for
    bool overlaps = false;        ///< gpu::overlaps, and compiled for a GPU that can
};

/// Of run_kernel<Kernel> on this device, which must be the current one. The limit of shared memory is a property of the
/// function and not of a launch: it is raised as far as it goes once, before the first launch, so that no thread lowers
/// it under another's.
template <class Kernel>
kernel_code code_of(int device) {
    static std::mutex mutex;
    static std::map<int, kernel_code> known;
    const std::lock_guard lock(mutex);
    const auto found = known.find(device);
    if (found != known.end()) return found->second;

    int most_shared = 0;
    check(cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking a GPU for its shared memory");
    cudaFuncAttributes attributes = {};
    check(cudaFuncGetAttributes(&attributes, run_kernel<Kernel>), "looking for a kernel");
    most_shared -= static_cast<int>(attributes.sharedSizeBytes);
    check(cudaFuncSetAttribute(run_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, most_shared),
          "asking for shared memory");
    // Code for sm_80 waits nowhere, also where a newer GPU runs it.
    const kernel_code code = {static_cast<std::size_t>(most_shared),
                              gpu::overlaps<Kernel> && attributes.ptxVersion >= 90};
    known.emplace(device, code);
    return code;
}

}  // namespace subbit::cuda_detail
