// A backend from outside the library (examples/03_custom_backend.cpp).
#include "conformance/backend_conformance.hpp"

#include <counting_backend.hpp>

TEST_CASE("counting backend, float") {
    subbit::testing::check_backend<float>(counting::counting_cpu(), {"do_gemm"});
}
