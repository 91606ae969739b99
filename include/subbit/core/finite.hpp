// Whether a number is one, from its bits: -ffast-math lets a compiler take std::isfinite for true.
#pragma once

#include <bit>
#include <cstdint>

namespace subbit {

/// False for NaN and the infinities, under -ffast-math too. By reference, for a compiler may take any argument that is
/// passed by value for finite there.
constexpr bool is_finite(const float& x) {
    return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) != 0x7f800000u;
}
constexpr bool is_finite(const double& x) {
    return (std::bit_cast<std::uint64_t>(x) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

}  // namespace subbit
