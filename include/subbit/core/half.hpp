// The two 16-bit floats, by integer arithmetic: the same bits on every machine, and loops over them vectorize.
//
// f16  = IEEE binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits.  bf16 = the upper half of a float.
#pragma once

#include <bit>
#include <cstdint>

namespace subbit {

/// The float of the same value as the binary16 `h`; exact, NaN payloads kept.
constexpr float from_f16(std::uint16_t h) {
    // In a float's fields the exponent is 112 too small: one multiplication corrects normals and subnormals alike.
    const std::uint32_t magnitude = static_cast<std::uint32_t>(h & 0x7fffu) << 13;
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
    const std::uint32_t infinite_or_nan = magnitude >= 0x0f800000u ? 0x7f800000u : 0u;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | infinite_or_nan |
                                static_cast<std::uint32_t>(h & 0x8000u) << 16);
}

/// The binary16 nearest to `x`, ties to even; 65520 and above become infinite, NaN stays NaN (quiet).
constexpr std::uint16_t to_f16(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t u = bits & 0x7fffffffu;
    // Normal results: rebias, and let the carry of the rounding run into the exponent, up to infinity.
    const std::uint32_t normal = (u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13;
    // Subnormal ones: a float in [0.5, 1) has units of 2^-24, so that the addition itself rounds to the unit of a
    // subnormal.
    const std::uint32_t small = u < 0x38800000u ? u : 0u;
    const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(small) + 0.5f) - 0x3f000000u;
    const std::uint32_t special = u > 0x7f800000u ? 0x7e00u | ((u >> 13) & 0x3ffu) : 0x7c00u;
    const std::uint32_t magnitude = u < 0x38800000u ? subnormal : u >= 0x47800000u ? special : normal;
    return static_cast<std::uint16_t>(magnitude | (bits >> 16 & 0x8000u));
}

/// The float of the same value as the bfloat16 `h`; exact.
constexpr float from_bf16(std::uint16_t h) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(h) << 16);
}

/// The bfloat16 nearest to `x`, ties to even; NaN stays NaN (quiet).
constexpr std::uint16_t to_bf16(float x) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const std::uint32_t quiet_nan = bits >> 16 | 0x40u;
    return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

/// The 16-bit floats as types, for kernels with 16-bit activations.
struct f16 {
    std::uint16_t bits = 0;
    constexpr f16() = default;
    constexpr explicit f16(float x) : bits(to_f16(x)) {}
    constexpr explicit operator float() const { return from_f16(bits); }
};
struct bf16 {
    std::uint16_t bits = 0;
    constexpr bf16() = default;
    constexpr explicit bf16(float x) : bits(to_bf16(x)) {}
    constexpr explicit operator float() const { return from_bf16(bits); }
};

}  // namespace subbit
