// The GPU backend's kernels, emulated, against the reference. A file for each scalar type, so that they compile side by
// side.
#include "conformance/backend_conformance.hpp"

#include <subbit/backend/emulated.hpp>

TEST_CASE("emulated, its threads from the last on, double") {
    subbit::testing::check_backend<double>(subbit::emulated(subbit::emulated_device({.falling = true})));
}
