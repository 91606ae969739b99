// The GPU backend's kernels, emulated, against the reference; the other tests run the threads of a block from the first
// on.
#include "conformance/backend_conformance.hpp"

#include <subbit/backend/emulated.hpp>

TEST_CASE("emulated, float, its threads from the last on") {
    subbit::testing::check_backend<float>(subbit::emulated(subbit::emulated_device({.falling = true})));
}
