// Products with 8-bit rows, for an embedding or an output head of 8 bits.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <span>

namespace subbit {

/// y_i = sum_j W(i,j) x_j for W (m,n), rows contiguous, x (n), y (m), in 32-bit integers: the same on every backend, if
/// no partial sum overflows (sum_j |x_j| of at most 2^31 / 128 suffices). Throws shape_error.
template <class B>
void byte_products(const B& b, matrix_view<const std::int8_t> W, std::span<const std::int16_t> x,
                   std::span<std::int32_t> y) {
    require_size("byte_products: x", std::ssize(x), W.cols);
    require_size("byte_products: y", std::ssize(y), W.rows);
    if (!W.is_row_major()) throw shape_error("byte_products: W is stored by columns, expected rows");
    do_byte_products(typename B::tag{}, b, W, x, y);
}

}  // namespace subbit
