// The conformance suite on a GPU. A file for each scalar type, so that they compile side by side.
#include "conformance/backend_conformance.hpp"
#include "cuda/gpu.cuh"

TEST_CASE("cuda, double") {
    if (subbit::testing::no_gpu()) return;
    subbit::testing::check_backend<double>(subbit::cuda());
}
