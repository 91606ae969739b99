// What the kernels of few vectors share: the product of a strip of signs with planes, by a warp, and what they make of
// it.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/rounding.hpp>
#include <subbit/backend/gpu/packed/bit_planes.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/vector_sources.hpp>

#include <cstdint>

namespace subbit::gpu {

/// Y = alpha (sum of the parts + bias) + beta Y; beta = 0 does not read Y.
template <class Out>
struct matrix_target {
    const float* bias = nullptr;  ///< m, or null: zeros
    matrix_view<Out> Y;           ///< (vectors, m)
    float alpha = 1, beta = 0;

    SUBBIT_KERNEL int rows() const { return static_cast<int>(Y.cols); }

    /// Row `row` of vector t, of which the parts have the sum y; `old` is what Y holds there, where beta is not 0.
    SUBBIT_KERNEL void store(int t, int row, float y, float old) const {
        if (bias != nullptr) y += bias[row];
        y = rounded_product(alpha, y);
        if (beta != 0.0f) y += beta * old;
        Y(t, row) = static_cast<Out>(y);
    }
};

/// diag(post) B v for vectors v from a Source; an empty scale, null, stands for ones.
template <class Source>
struct vector_part {
    bit_view bits;  ///< B (m,n)
    Source source;
    const float* post = nullptr;  ///< m
};

template <class Source, class Target>
struct vector_output {
    vector_part<Source> parts[max_paths];
    int part_count = 1;
    Target target;
};

/// The warp's sum_p w_p c_p of row lane(). A lane has two planes of each tile for four rows; the four lanes of
/// these rows exchange what they have, until each has one row.
template <int Tiles, class Block>
SUBBIT_KERNEL std::int64_t row_sum(Block& block, const std::int32_t (&counts)[2][Tiles][4]) {
    const int q = block.lane() % 4;
    weighted_count of_row[4];
    SUBBIT_UNROLL
    for (int row = 0; row < 4; ++row) {
        std::int32_t even[Tiles], odd[Tiles];
        SUBBIT_UNROLL
        for (int t = 0; t < Tiles; ++t) {
            even[t] = counts[row / 2][t][row % 2 * 2];
            odd[t] = counts[row / 2][t][row % 2 * 2 + 1];
        }
        of_row[row] = weighted(even, odd, q);
    }
    const auto gathered = [&](const weighted_count& zero, const weighted_count& one, bool second, int mask) {
        const weighted_count kept = second ? one : zero, given = second ? zero : one;
        return weighted_count{kept.low + block.shuffle_xor(given.low, mask),
                              kept.high + block.shuffle_xor(given.high, mask)};
    };
    const weighted_count even_row = gathered(of_row[0], of_row[2], q / 2 == 1, 2);
    const weighted_count odd_row = gathered(of_row[1], of_row[3], q / 2 == 1, 2);
    const weighted_count row = gathered(even_row, odd_row, q % 2 == 1, 1);
    return (std::int64_t{row.high} << 16) + row.low;
}

/// A warp's product of row lane() of a strip with its columns of a vector; signs_of(h) are the lane's words of the h-th
/// 128 of them, 32 columns of four rows.
template <int Tiles, int Halves, class Block, class Signs>
SUBBIT_KERNEL float plane_product(Block& block, const warp_planes<Tiles, Halves>& planes, Signs signs_of) {
    std::int32_t counts[2][Tiles][4] = {};
    SUBBIT_UNROLL
    for (int h = 0; h < Halves; h += 2) {
        // Row 4g + 2 pair + i of the strip is row g + 8i of the tensor core's product.
        const bool both = h + 1 < Halves;
        const sign_words low = signs_of(h), high = both ? signs_of(h + 1) : sign_words{};
        SUBBIT_UNROLL
        for (int pair = 0; pair < 2; ++pair)
            SUBBIT_UNROLL
        for (int t = 0; t < Tiles; ++t)
            count_common(block, counts[pair][t],
                         {{low.row[2 * pair], low.row[2 * pair + 1], high.row[2 * pair], high.row[2 * pair + 1]}},
                         {{planes.half[h].tile[t], both ? planes.half[h + 1].tile[t] : 0}});
    }
    return static_cast<float>(2 * row_sum<Tiles>(block, counts) - planes.sum) * planes.to_real;
}

/// The sum of what the warps of a block left, each `stride` numbers after the one before it, in their order.
template <int Most, class Block>
SUBBIT_KERNEL float sum_of_warps(const Block& block, const float* of_warps, int stride) {
    float sum = 0;
    SUBBIT_UNROLL
    for (int w = 0; w < Most; ++w)  // all loads under way at once
        sum += w < block.warps() ? of_warps[w * stride] : 0.0f;
    return sum;
}

}  // namespace subbit::gpu
