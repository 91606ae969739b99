// How the scales of a compressed layer are stored.
#pragma once

#include <subbit/core/matrix.hpp>

#include <cstdint>

namespace subbit {

/// The numbers of a file that stand for the scales of a layer.
enum class scale_format {
    f16,  ///< 16-bit floats
    log8  ///< 8 bits a scale, on a logarithmic grid that each vector has for itself (bits/scale_grid.hpp)
};

/// Bits of a vector of so many scales, its grid included.
constexpr std::int64_t stored_bits(scale_format format, index count) {
    constexpr std::int64_t grid = 64;
    return format == scale_format::f16 ? 16 * std::int64_t{count} : 8 * std::int64_t{count} + grid;
}

}  // namespace subbit
