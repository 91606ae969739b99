// exp, square root and largest element that compilers vectorize: softmax, SiLU, losses and AdamW spend much of their
// time there.
#pragma once

#include <subbit/core/matrix.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace subbit {

/// e^x. For double the standard library's; for float a polynomial of degree 6 with a relative error under 2e-7, 0 below
/// -87 and infinity above 88.7.
inline double fast_exp(double x) {
    return std::exp(x);
}

inline float fast_exp(float x) {
    // e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln2/2; ln 2 is split in two so that r is exact. Adding 1.5 * 2^23
    // rounds to an integer and leaves it in the low mantissa bits, from where it is moved into an exponent.
    constexpr float log2e = 1.44269504088896341F, ln2_high = 0.693359375F, ln2_low = -2.12194440e-4F;
    constexpr float round_magic = 12582912.0F;
    const float clamped = x > 88.8F ? 88.8F : (x > -87.0F ? x : -87.0F);
    const float shifted = clamped * log2e + round_magic;
    const float n = shifted - round_magic;
    const float r = (clamped - n * ln2_high) - n * ln2_low;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    // 2^n in two factors, since n may be 128, and 2^128 is not a float.
    const std::int32_t whole = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(round_magic);
    const std::int32_t half = whole / 2;
    const float result =
        p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((whole - half + 127) << 23);
    return x < -87.0F ? 0.0F : (x != x ? x : result);
}

/// The square root of x >= 0. For double the standard library's; for float Newton's steps to a relative error under
/// 2e-7, which are vectorized (std::sqrt has to set errno, so a loop with it is not). Roots of numbers below the
/// smallest normal one, 1.2e-38, are too small.
inline double fast_sqrt(double x) {
    return std::sqrt(x);
}

inline float fast_sqrt(float x) {
    // y ~ 1 / sqrt(x): half the exponent and a straight line for the mantissa, then three steps.
    float y = std::bit_cast<float>(0x5f3759df - (std::bit_cast<std::int32_t>(x) >> 1));
    const float half = 0.5F * x;
    y = y * (1.5F - half * y * y);
    y = y * (1.5F - half * y * y);
    y = y * (1.5F - half * y * y);
    return x > std::numeric_limits<float>::max() ? x : x * y;
}

/// The largest of value(0) .. value(n - 1), n > 0. A NaN is passed over, unless it is the first: then it is the result.
///
/// The trick is to keep a largest number for each lane of a register. Compilers vectorize that, but no single maximum
/// over all numbers, as its result would depend on their order where zeros differ in sign.
template <class F>
auto largest_of(index n, F value) {
    using S = decltype(value(index{}));
    constexpr index lanes = 16;
    const S first = value(0);
    S top[lanes];
    for (S& t : top)
        t = first;
    const auto raise = [](S& t, S x) { t = x > t ? x : t; };
    index j = 0;
    for (; j + lanes <= n; j += lanes)
#pragma omp simd
        for (index l = 0; l < lanes; ++l)
            raise(top[l], value(j + l));
    for (; j < n; ++j)
        raise(top[0], value(j));
    for (index l = 1; l < lanes; ++l)
        raise(top[0], top[l]);
    return top[0];
}

}  // namespace subbit
