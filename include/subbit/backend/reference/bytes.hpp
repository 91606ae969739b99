// Products of 8-bit rows by plain loops (ops/bytes.hpp).
#pragma once

#include <subbit/backend/ops/bytes.hpp>

#include <cstdint>
#include <span>

namespace subbit {

template <class B>
void do_byte_products(reference_tag, const B&, matrix_view<const std::int8_t> W, std::span<const std::int16_t> x,
                      std::span<std::int32_t> y) {
    for (index i = 0; i < W.rows; ++i) {
        std::int32_t sum = 0;
        for (index j = 0; j < W.cols; ++j)
            sum += std::int32_t{W(i, j)} * x[static_cast<std::size_t>(j)];
        y[static_cast<std::size_t>(i)] = sum;
    }
}

}  // namespace subbit
