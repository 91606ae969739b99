// The cpu backend with every instruction set that this machine has, on two threads.
#include "conformance/backend_conformance.hpp"

#include <subbit/backend/cpu.hpp>

namespace {

template <class S>
void check_isa(subbit::isa instructions) {
    if (instructions > subbit::detect_isa()) {
        MESSAGE("not on this machine: " << subbit::isa_name(instructions));
        return;
    }
    subbit::testing::check_backend<S>(subbit::cpu({.threads = 2, .instructions = instructions}));
}

}  // namespace

TEST_CASE("cpu, portable, float") {
    check_isa<float>(subbit::isa::portable);
}
TEST_CASE("cpu, portable, double") {
    check_isa<double>(subbit::isa::portable);
}
TEST_CASE("cpu, avx2, float") {
    check_isa<float>(subbit::isa::avx2);
}
TEST_CASE("cpu, avx2, double") {
    check_isa<double>(subbit::isa::avx2);
}
TEST_CASE("cpu, avx512, float") {
    check_isa<float>(subbit::isa::avx512);
}
TEST_CASE("cpu, avx512, double") {
    check_isa<double>(subbit::isa::avx512);
}
