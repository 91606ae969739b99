// A file for each scalar type, so that they compile side by side.
#include "conformance/check_cpu.hpp"

TEST_CASE("cpu, portable, double") {
    subbit::testing::check_cpu<double>(subbit::isa::portable);
}
TEST_CASE("cpu, avx2, double") {
    subbit::testing::check_cpu<double>(subbit::isa::avx2);
}
TEST_CASE("cpu, avx512, double") {
    subbit::testing::check_cpu<double>(subbit::isa::avx512);
}
