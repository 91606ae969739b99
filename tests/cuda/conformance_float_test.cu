// The conformance suite on a GPU. A file for each scalar type, so that they compile side by side.
#include "conformance/backend_conformance.hpp"
#include "cuda/gpu.cuh"

TEST_CASE("cuda, float") {
    if (subbit::testing::no_gpu()) return;
    subbit::testing::check_backend<float>(subbit::cuda());
}
