// What a launch of packed products computes, and the step that all its kernels are made of.
//
// The bits of 32 rows and 128 columns are one load of 16 bytes a lane, straight from the layout of bit_view.hpp: lane
// 4g + q holds 32 columns, 32q.., of rows 4g .. 4g + 3. A tensor core's product of a warp, m16n8k32, wants of lane 4g +
// q two rows and 2 x 4 columns as bytes; which rows and which columns is ours to choose. So w >> k & 0x01010101 is an
// operand as it stands, entries k, k + 8, k + 16, k + 24 of a row's 32 as 0 or 1, and the vectors' digits lie
// accordingly (digit_layout). With 0 and 1 for the signs, y = 2 sum_j b_j v_j - sum_j v_j, and the second sum is the
// vectors' alone.
//
// Instructions of a warp for 4096 weights and up to 8 columns of digits (2 tokens in float): 1 load of signs, 2 of
// digits, 32 masks, 12 shifts (the upper half of each byte is taken as 0 or 16 with the same shifts, in sums of its
// own), 8 matrix products: 55, of which 44 are integer operations, at 2 a clock. That is 186 weights a clock and
// multiprocessor; an H100 reads 116 bits in that time. bfloat16 operands, with a shift and a mask for every two
// weights, would be at 64 weights a clock; one multiply-add a weight at 128, before anything is unpacked.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/rounding.hpp>
#include <subbit/backend/gpu/packed/fixed_point.hpp>
#include <subbit/bits/bit_view.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <cstdint>

namespace subbit::gpu {

/// The digits of all tokens of a product: tokens in groups of 8, column 8 (digits group + d) + token % 8 has digit d.
/// Words lie column after column for digit_vectors.hpp (digits_kernel makes them), tile after tile and step after step
/// for tiles.hpp (tile_digits_kernel).
template <class Real>
struct token_digits {
    const std::uint32_t* words = nullptr;  ///< columns x digit_layout::words(n)
    const std::int32_t* sums = nullptr;    ///< a column's
    const Real* to_real = nullptr;         ///< a token's
};

/// diag(post) B diag(pre) x for every row x of X; an empty scale, null, stands for ones.
template <class In, class Real>
struct packed_part {
    bit_view bits;               ///< B (m,n)
    matrix_view<const In> X;     ///< (T,n)
    const Real* pre = nullptr;   ///< n
    const Real* post = nullptr;  ///< m
    token_digits<Real> digits;   ///< of diag(pre) x; only where they are made beforehand
};

/// Y = alpha (sum of the parts + bias) + beta Y; beta = 0 does not read Y.
template <class In, class Out, class Real>
struct packed_output {
    packed_part<In, Real> parts[max_paths];
    int part_count = 1;
    const Real* bias = nullptr;  ///< m, or null: zeros
    matrix_view<Out> Y;          ///< (T,m)
    Real alpha = 1, beta = 0;

    SUBBIT_KERNEL index rows() const { return Y.cols; }
    SUBBIT_KERNEL index tokens() const { return Y.rows; }

    /// Adds `sum` to row i of token t; the first addition of all starts from the bias and beta Y.
    SUBBIT_KERNEL void add(index t, index i, Real sum, bool first) const {
        Out& y = Y(t, i);
        Real total = rounded_product(alpha, first && bias != nullptr ? sum + bias[i] : sum);
        if (!first)
            total += static_cast<Real>(y);
        else if (beta != Real(0))
            total += beta * static_cast<Real>(y);
        y = static_cast<Out>(total);
    }
};

inline constexpr int outputs_at_once = 8;

/// Which of `count` outputs has item `at`, where output o's items begin at first[o].
template <class Number>
SUBBIT_KERNEL int output_with(const Number* first, int count, index at) {
    int o = 0;
    while (o + 1 < count && first[o + 1] <= at)
        ++o;
    return o;
}

/// The outputs of one launch; each takes as many blocks as it has tiles of rows and tokens.
template <class In, class Out, class Real>
struct packed_job {
    packed_output<In, Out, Real> outputs[outputs_at_once];
    index first_block[outputs_at_once] = {};
    int count = 0;

    /// The output that a block works on.
    SUBBIT_KERNEL int output_of(index block) const { return output_with(first_block, count, block); }
};

inline constexpr index strip_rows = 32;

/// A lane's bits of a strip's 32 rows and 128 columns: 32 columns of four rows.
struct alignas(16) sign_words {
    std::uint32_t row[4];
};

/// Where a lane finds its sign_words of a strip.
struct strip_reader {
    const sign_words* first = nullptr;  ///< of step 0
    int steps = 0;                      ///< that have columns for this lane; none beyond the last row

    SUBBIT_KERNEL strip_reader(const bit_view& bits, int lane, index strip) {
        const index group = 2 * strip + lane / 16;
        if (group >= bits.row_groups()) return;
        first = reinterpret_cast<const sign_words*>(bits.tile(group, lane % 4) + 4 * (lane / 4 % 4));
        steps = static_cast<int>((bits.col_groups() - lane % 4 + 3) / 4);
    }
    /// Null where a step has nothing for this lane: its signs count as zero.
    SUBBIT_KERNEL const sign_words* at(int step) const { return step < steps ? first + 16 * index{step} : nullptr; }
};

/// The operands that the masked bits k and k + 1 of a byte are: rows 4g, 4g + 1 (pair 0) or 4g + 2, 4g + 3 (pair 1).
SUBBIT_KERNEL inline sign_fragment masked_signs(const sign_words& w, int pair, int k, std::uint32_t mask) {
    const std::uint32_t first = w.row[2 * pair], second = w.row[2 * pair + 1];
    return {{first >> k & mask, second >> k & mask, first >> (k + 1) & mask, second >> (k + 1) & mask}};
}

/// Four words of digits, as one load reads them.
struct alignas(16) digit_words {
    std::uint32_t word[4];
};

/// Of the sums of multiply_add, row 4g + i (i < 4) is in pair i / 2, elements 2 (i % 2) and 2 (i % 2) + 1: columns 2q,
/// 2q + 1.
SUBBIT_KERNEL constexpr int sum_pair(int row) {
    return row % 4 / 2;
}
SUBBIT_KERNEL constexpr int sum_element(int row, int column) {
    return 2 * (row % 2) + column % 2;
}
SUBBIT_KERNEL constexpr int sum_lane(int row, int column) {
    return row / 4 * 4 + column / 2;
}

}  // namespace subbit::gpu
