// Which of a machine's GPUs a rank works on.
#pragma once

#include <subbit/backend/cuda.cuh>
#include <subbit/distribute/communicator.hpp>

#include <algorithm>

namespace llama {

/// The number of the rank's GPU: one of its own, where its machine has as many.
inline int gpu_of(const subbit::communicator& ranks) {
    return ranks.rank_here() % std::max(1, subbit::cuda_device_count());
}

}  // namespace llama
