// The GPU backend's kernels, emulated, against the reference. A file for each scalar type, so that they compile side by
// side.
#include "conformance/backend_conformance.hpp"

#include <subbit/backend/emulated.hpp>

TEST_CASE("emulated, float") {
    subbit::testing::check_backend<float>(subbit::emulated());
}
