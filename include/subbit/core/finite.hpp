// Whether a number is finite, from its bits: with -ffast-math a compiler may assume that std::isfinite is true.
#pragma once

#include <bit>
#include <cstdint>

namespace subbit {

/// False for NaN and the infinities, with -ffast-math too. The argument is a reference because with that option a
/// compiler may assume that a number passed by value is finite.
constexpr bool is_finite(const float& x) {
    return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) != 0x7f800000u;
}
constexpr bool is_finite(const double& x) {
    return (std::bit_cast<std::uint64_t>(x) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

}  // namespace subbit
