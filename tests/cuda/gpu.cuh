// Whether a test of a GPU can run.
#pragma once

#include <subbit/backend/cuda.cuh>

#include <doctest/doctest.h>

namespace subbit::testing {

/// True, and the test says skipped, where there is no GPU.
inline bool no_gpu() {
    if (cuda_device_count() > 0) return false;
    MESSAGE("SKIPPED: no GPU");
    return true;
}

}  // namespace subbit::testing
