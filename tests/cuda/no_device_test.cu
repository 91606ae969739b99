// The cuda backend where there is no GPU; says skipped where there is one.
#include <subbit/backend/cuda.cuh>

#include "support/throws.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {

TEST_CASE("without a GPU the backend says what to do") {
    if (cuda_device_count() > 0)
        MESSAGE("SKIPPED: there is a GPU");
    else
        check_throws<cuda_error>([] { const cuda backend; }, {"looking for a GPU", "or use the cpu backend"});
}

}  // namespace subbit::testing
