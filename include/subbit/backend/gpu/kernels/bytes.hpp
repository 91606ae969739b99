// Rows of 8-bit numbers times a vector of 16-bit ones, in exact 32-bit integers: what an 8-bit output head is.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/core/matrix.hpp>

#include <cstdint>

namespace subbit {

namespace gpu {

/// 16 of the rows' bytes, or 8 entries of the vector.
struct alignas(16) sixteen_bytes {
    std::uint32_t word[4];
};

/// y_i = sum_j W(i,j) x_j, a warp a row.
struct byte_product_kernel {
    matrix_view<const std::int8_t> W;
    const std::int16_t* x;
    std::int32_t* y;
    bool aligned;  // rows and x begin at multiples of 16 bytes

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, W.rows, [&](index i) {
            const std::int8_t* const row = W.row(i);
            const index wide = aligned ? W.cols / 16 : 0;
            std::int32_t sum = 0;
            for (index u = block.lane(); u < wide; u += warp_size) {
                const auto w = load_once(block, reinterpret_cast<const sixteen_bytes*>(row) + u);
                const auto* const v = reinterpret_cast<const sixteen_bytes*>(x) + 2 * u;
                for (int h = 0; h < 2; ++h)
                    for (int k = 0; k < 2; ++k)
                        sum = multiply_bytes(block, w.word[2 * h + k], v[h].word[2 * k], v[h].word[2 * k + 1], sum);
            }
            for (index j = 16 * wide + block.lane(); j < W.cols; j += warp_size)
                sum += std::int32_t{row[j]} * x[j];
            sum = block.warp_sum(sum);
            if (block.lane() == 0) y[i] = sum;
        });
    }
};

}  // namespace gpu

}  // namespace subbit
