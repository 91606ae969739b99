// Packed products on the GPU backend: fixed point, layout, and every kernel against exact sums at odd sizes.
#include "emulated_gpus.hpp"
#include "packed_checks.hpp"

#include <doctest/doctest.h>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

namespace subbit::testing {

namespace {

template <class Real>
void check_digits(Real v, Real largest) {
    constexpr int digits = gpu::fixed_point<Real>::digits;
    const auto scale = gpu::fixed_scale_of<Real>(gpu::magnitude_pattern(largest));
    const auto bytes = gpu::to_digits(v, scale.to_integer);
    std::int32_t sums[digits];
    for (int d = 0; d < digits; ++d)
        sums[d] = static_cast<std::int8_t>(static_cast<std::uint8_t>(bytes >> 8 * d & 255u));
    const double error = static_cast<double>(std::abs(gpu::from_digit_sums(sums, 1, scale.to_real) - v));
    CAPTURE(v);
    CAPTURE(largest);
    CHECK(error <= std::ldexp(static_cast<double>(std::abs(largest)) * 128 / 127, 1 - 8 * digits) +
                       static_cast<double>(std::numeric_limits<Real>::min()));
}

}  // namespace

TEST_CASE_TEMPLATE("digits hold a number to within half of their last place", Real, float, double) {
    constexpr Real tiny = std::numeric_limits<Real>::min(), huge = std::numeric_limits<Real>::max() / 2;
    for (const Real largest : {Real(1), Real(1.9843749), Real(1.984375), Real(1.9999999), Real(3e-5), tiny, tiny / 8,
                               Real(0), huge, -huge, Real(-127), Real(-128)})
        for (const Real share : {Real(1), Real(-1), Real(0.5), Real(-0.4999999), Real(0.0078125), Real(-1e-7), Real(0)})
            check_digits(share * largest, largest);
    for (const Real special : {std::numeric_limits<Real>::infinity(), std::numeric_limits<Real>::quiet_NaN()}) {
        const auto scale = gpu::fixed_scale_of<Real>(gpu::magnitude_pattern(special));
        CHECK(std::isnan(scale.to_real));
        CHECK(gpu::to_digits(special, scale.to_integer) == 0);
    }
}

TEST_CASE("every entry of a step has a byte of its own") {
    std::set<index> seen;
    for (index w = 0; w < 2 * gpu::digit_layout::step_words; ++w)
        for (index i = 0; i < 4; ++i)
            seen.insert(gpu::digit_layout::first_entry(w) + 8 * i);
    CHECK(seen.size() == 256);
    CHECK(*seen.rbegin() == 255);
}

TEST_CASE("a transpose on the device is the host's") {
    for (const auto& options : emulated_gpus)
        check_bit_transposes(emulated(emulated_device(options)));
}

TEST_CASE_TEMPLATE("products of whole numbers with packed signs are exact", S, float, double) {
    for (const auto& options : emulated_gpus)
        check_exact_products<S>(emulated(emulated_device(options)));
}

TEST_CASE_TEMPLATE("products with packed signs go to a part of a matrix", S, float, double) {
    for (const auto& options : emulated_gpus)
        check_products_in_place<S>(emulated(emulated_device(options)));
}

TEST_CASE("the transpose of packed signs, operands by columns") {
    for (const auto& options : emulated_gpus)
        check_transposed_products(emulated(emulated_device(options)));
}

TEST_CASE_TEMPLATE("vectors at all alignments", S, float, double) {
    for (const auto& options : emulated_gpus)
        check_alignments<S>(emulated(emulated_device(options)));
}

TEST_CASE("tiles of every shape, parts and bias and old outputs") {
    for (const auto& options : emulated_gpus)
        check_warpgroup_shapes(emulated(emulated_device(options)));
}

TEST_CASE("one NaN or infinity makes a vector's outputs NaN, and no others") {
    for (const auto& options : emulated_gpus)
        check_special_numbers(emulated(emulated_device(options)));
}

}  // namespace subbit::testing
