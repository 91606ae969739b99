// Packed products on the GPU backend: fixed point, layout, and every kernel against exact sums at odd sizes.
#include <subbit/backend/emulated.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

namespace subbit::testing {

namespace {

template <class S>
matrix<S> drawn(index rows, index cols, std::uint64_t stream) {
    matrix<S> X(rows, cols);
    fill_normal(reference<S>(), random_stream(77, stream), X);
    return X;
}

/// Whole numbers whose sums are exact in float: a kernel that reads one wrong entry does not give the same sum.
template <class S>
matrix<S> whole_numbers(index rows, index cols, std::uint64_t stream) {
    return (drawn<S>(rows, cols, stream) * S(100)).array().round();
}

template <class S>
bit_matrix drawn_signs(index rows, index cols, std::uint64_t stream) {
    return bit_matrix::pack(drawn<S>(rows, cols, stream));
}

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
    const emulated b;
    for (const index m : {1, 15, 16, 17, 33, 65, 130})
        for (const index n : {1, 31, 32, 33, 63, 100}) {
            const bit_matrix bits = drawn_signs<float>(m, n, 1);
            CAPTURE(m);
            CAPTURE(n);
            const auto turned = gpu::transpose_bits(b, gpu::upload_bits(b, bits).view());
            CHECK(gpu::download_bits(b, turned.view().words(), n, m) == bits.transpose());
        }
}

TEST_CASE_TEMPLATE("products of whole numbers with packed signs are exact", S, float, double) {
    const emulated b;
    const auto check = [&](index m, index n, index tokens) {
        const bit_matrix bits = drawn_signs<S>(m, n, 2);
        const matrix<S> A = whole_numbers<S>(tokens, n, 3), C = whole_numbers<S>(tokens, m, 4);
        const matrix<S> product = A * bits.unpack<S>().transpose();
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(tokens);
        auto out = upload(b, matrix<S>::Constant(tokens, m, std::numeric_limits<S>::quiet_NaN()).eval());
        gemm(b, upload(b, A), bits.t(), out);
        CHECK(download(b, out) == product);
        auto sum = upload(b, C);
        gemm(b, upload(b, A), gpu::upload_bits(b, bits).view().t(), sum, 2, -1);
        CHECK(download(b, sum) == 2 * product - C);
    };
    for (const index n : {1, 31, 32, 33, 127, 128, 129, 300})
        check(33, n, 1);
    for (const index m : {1, 15, 16, 17, 31, 32, 63, 65})
        check(m, 63, 2);
    for (const index tokens : {3, 8, 9, 16})
        check(49, 161, tokens);
    check(17, 7000, 2);  // more entries than fit in shared memory at once
    if (sizeof(S) == 8) return check(33, 130, 17);
    check(33, 130, 17);   // tiles from here on
    check(260, 385, 50);  // two tiles of rows, two of tokens, more steps than stages
}

TEST_CASE("the transpose of packed signs, operands by columns") {
    const emulated b;
    const index m = 33, n = 70;
    for (const index tokens : {1, 5, 18}) {
        const bit_matrix bits = drawn_signs<float>(n, m, 5);
        const matrix<float> A = whole_numbers<float>(n, tokens, 6);
        auto out = allocate<float>(b, m, tokens);
        gemm(b, view(upload(b, A)).t(), bits.view(), view(out).t());
        CHECK(download(b, view(out).t()) == A.transpose() * bits.unpack<float>());
    }
}

TEST_CASE("one NaN or infinity makes a vector's outputs NaN, and no others") {
    const emulated b;
    const bit_matrix bits = drawn_signs<float>(20, 40, 7);
    for (const float special : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
        for (const index tokens : {2, 4, 17}) {
            matrix<float> A = drawn<float>(tokens, 40, 8);
            A(1, 39) = special;
            auto out = allocate<float>(b, tokens, 20);
            gemm(b, upload(b, A), bits.t(), out);
            const matrix<float> got = download(b, out);
            CHECK(got.row(1).array().isNaN().all());
            CHECK(got.row(0).allFinite());
        }
}

}  // namespace subbit::testing
