// Whether a number is one, from its bits: -ffast-math lets a compiler take std::isfinite for true.
#pragma once

#include <bit>
#include <cstdint>

namespace subbit {

/// False for NaN and the infinities, under -ffast-math too.
constexpr bool is_finite(float x) {
    return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) != 0x7f800000u;
}
constexpr bool is_finite(double x) {
    return (std::bit_cast<std::uint64_t>(x) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

}  // namespace subbit
