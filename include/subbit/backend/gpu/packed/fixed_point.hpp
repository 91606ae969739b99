// Vectors in fixed point: what lets integer tensor cores multiply signs with real numbers.
//
// The entries of a vector v become integers, v_j ~ i_j 2^-s with the largest s for which all fit, and each integer
// signed digits of 8 bits, i_j = sum_d 256^d digit_d(j). A product with signs is then a sum of integers for each digit:
// exact, the same in any order, and hence the same for any number of vectors at once and any number of threads. What is
// lost is lost in the rounding of v: some 2^-23 of its largest entry at most in float (3 digits), 2^-55 in double (7
// digits), what a sum in that type loses anyhow. An infinity or a NaN in v makes every output NaN.
#pragma once

#include <subbit/core/kernel.hpp>
#include <subbit/core/matrix.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace subbit::gpu {

/// How numbers of the type Real become digits.
template <class Real>
struct fixed_point;

template <>
struct fixed_point<float> {
    static constexpr int digits = 3;
    using integer = std::int32_t;
    using pattern = std::uint32_t;
    static constexpr int fraction_bits = 23, exponent_bias = 127;
    static constexpr pattern midpoints = 0x808080;  // 128 in every digit
};

template <>
struct fixed_point<double> {
    static constexpr int digits = 7;
    using integer = std::int64_t;
    using pattern = std::uint64_t;
    static constexpr int fraction_bits = 52, exponent_bias = 1023;
    static constexpr pattern midpoints = 0x80808080808080;
};

/// |x| as an integer that orders as the numbers do, with infinity and NaN above all of them.
template <class Real>
SUBBIT_KERNEL typename fixed_point<Real>::pattern magnitude_pattern(Real x) {
    using pattern = typename fixed_point<Real>::pattern;
    constexpr pattern all_but_sign = static_cast<pattern>(~pattern{0}) >> 1;
    return std::bit_cast<pattern>(x) & all_but_sign;
}

/// The factors of a vector: i = round(v to_integer), v ~ i to_real; powers of two.
template <class Real>
struct fixed_scale {
    Real to_integer;
    Real to_real;
};

/// 2^exponent and its reciprocal. Both stay normal numbers: a vector of next to nothing has fewer bits then.
template <class Real>
SUBBIT_KERNEL fixed_scale<Real> scale_of_exponent(int exponent) {
    using F = fixed_point<Real>;
    const int most = F::exponent_bias - 1, s = exponent < most ? exponent : most;
    const auto power = [](int e) {
        return std::bit_cast<Real>(static_cast<typename F::pattern>(e + F::exponent_bias) << F::fraction_bits);
    };
    return {power(s), power(-s)};
}
/// The factors of a vector that is not finite.
template <class Real>
SUBBIT_KERNEL fixed_scale<Real> scale_of_special() {
    return {Real(0), std::numeric_limits<Real>::quiet_NaN()};
}

/// The factors of a vector whose largest magnitude has this pattern.
template <class Real>
SUBBIT_KERNEL fixed_scale<Real> fixed_scale_of(typename fixed_point<Real>::pattern largest) {
    using F = fixed_point<Real>;
    using pattern = typename F::pattern;
    constexpr int special = 2 * F::exponent_bias + 1;  // the exponent field of infinity and NaN
    if (static_cast<int>(largest >> F::fraction_bits) == special) return scale_of_special<Real>();
    // A digit ends at 127, not at 128: from 127/128 of a power of two on, the next exponent is taken.
    constexpr pattern margin = pattern{1} << (F::fraction_bits - 6);
    const int field = static_cast<int>((largest + margin) >> F::fraction_bits);
    return scale_of_exponent<Real>(8 * F::digits - 2 + F::exponent_bias - field);
}

/// The digits of round(v to_integer) as bytes in two's complement, the lowest first.
template <class Real>
SUBBIT_KERNEL typename fixed_point<Real>::pattern to_digits(Real v, Real to_integer) {
    using F = fixed_point<Real>;
    if (to_integer == Real(0)) return 0;  // the vector is not finite
    const auto rounded = static_cast<typename F::integer>(std::rint(v * to_integer));
    // In base 256 with 128 added to every digit all digits are 0 to 255; flipping the top bit of each takes it off
    // again.
    return (static_cast<typename F::pattern>(rounded) + F::midpoints) ^ F::midpoints;
}

/// sum_d 256^d sums[d * stride], rounded once to float, a few times to double.
template <class Real>
SUBBIT_KERNEL Real from_digit_sums(const std::int32_t* sums, int stride, Real to_real) {
    // Sums of three digits fit in 64 bits, and the number is exact in either type until it is rounded; a GPU converts
    // one integer in the time that it converts one of the sums.
    using whole = std::conditional_t<sizeof(Real) == 4, std::int64_t, double>;
    whole total = 0;
    for (int d = fixed_point<Real>::digits; d-- > 0;)
        total = total * 256 + sums[d * stride];
    return static_cast<Real>(total) * to_real;
}

/// How the digits of a vector lie: a column of words for each digit, 32 words for a step of 128 entries. Lane 4g + q of
/// a warp multiplies the entries 32q.. of the step; it needs entries k, k + 8, k + 16, k + 24 as the bytes of one word,
/// which are the bits that one mask takes out of 32 signs, and reads four such words at once:
///
///     word 16h + 4q + k holds entries 32q + 4h + k + {0, 8, 16, 24}      h < 2, q < 4, k < 4
struct digit_layout {
    static constexpr index step = 128;
    static constexpr index step_words = 32;

    static constexpr index steps(index n) { return (n + step - 1) / step; }
    static constexpr index words(index n) { return steps(n) * step_words; }
    /// The entry in the lowest byte of a word; the others follow 8, 16 and 24 later.
    static constexpr index first_entry(index word) {
        return word / step_words * step + word / 4 % 4 * 32 + word / 16 % 2 * 4 + word % 4;
    }
};

}  // namespace subbit::gpu
