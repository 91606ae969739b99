// What training asks of a backend, on a GPU.
#include "cuda/gpu.cuh"
#include "gpu/training_checks.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {

TEST_CASE("layers, losses and optimizers on a GPU as on the host") {
    if (no_gpu()) return;
    const cuda b;
    check_owners(b);
    check_losses(b);
    check_dense_layer(b);
    check_low_rank_layer(b);
    check_residual_layer(b);
    check_moments(b);
    check_repeated_work(b);
    check_recorded_steps(b);
    check_written_numbers(b);
}

}  // namespace subbit::testing
