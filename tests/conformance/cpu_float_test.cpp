// A file for each scalar type, so that they compile side by side.
#include "conformance/check_cpu.hpp"

TEST_CASE("cpu, portable, float") {
    subbit::testing::check_cpu<float>(subbit::isa::portable);
}
TEST_CASE("cpu, avx2, float") {
    subbit::testing::check_cpu<float>(subbit::isa::avx2);
}
TEST_CASE("cpu, avx512, float") {
    subbit::testing::check_cpu<float>(subbit::isa::avx512);
}
TEST_CASE("cpu, neon, float") {
    subbit::testing::check_cpu<float>(subbit::isa::neon);
}
TEST_CASE("cpu, dotprod, float") {
    subbit::testing::check_cpu<float>(subbit::isa::dotprod);
}
