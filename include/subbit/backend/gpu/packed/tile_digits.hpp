// The digits of many vectors (fixed_point.hpp) as the tiles' kernels copy them to shared memory.
//
// A stage of such a kernel is one piece of the workspace: all columns of a tile of tokens, 128 entries of each. So a
// copy is a loop over consecutive bytes, whose addresses need no arithmetic.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/packed/core_matrices.hpp>
#include <subbit/backend/gpu/packed/digits.hpp>
#include <subbit/backend/gpu/packed/fixed_point.hpp>
#include <subbit/backend/gpu/packed/product.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// The shape of a tile: 2 strips of rows and `groups` groups of 8 tokens for each of 4 x 2 warps.
template <class Real>
struct tile_shape {
    static constexpr int strips = 2, row_warps = 4, token_warps = 2;
    static constexpr int groups = sizeof(Real) == 4 ? 3 : 1;
    static constexpr int threads = 32 * row_warps * token_warps;
    static constexpr int row_strips = strips * row_warps;
    static constexpr index rows = strip_rows * row_strips;
    static constexpr index tokens = index{8} * groups * token_warps;
    static constexpr int warp_columns = 8 * groups * fixed_point<Real>::digits;
    static constexpr int columns = warp_columns * token_warps;
    static constexpr int stages = 3;
    static constexpr int stage_words = columns * static_cast<int>(digit_layout::step_words);
    static constexpr std::size_t shared_bytes = std::size_t{stages} * stage_words * 4;

    static constexpr index row_tiles(index m) { return (m + rows - 1) / rows; }
    static constexpr index token_tiles(index t) { return (t + tokens - 1) / tokens; }
};

/// Where the 4 words `unit` of a column lie in a stage. Odd columns have their halves exchanged, so that the two
/// columns that a quarter of a warp reads together lie in different banks.
SUBBIT_KERNEL constexpr int unit_word(int column, int unit) {
    return column * static_cast<int>(digit_layout::step_words) + 4 * (unit ^ column % 2 * 4);
}

/// The stages of tiles.hpp.
template <class Real>
struct column_stages {
    static constexpr index tokens = tile_shape<Real>::tokens, stage_words = tile_shape<Real>::stage_words;
    /// Where word `word` of a step of a tile's column lies.
    SUBBIT_KERNEL static constexpr int place_of(int column, int word) { return unit_word(column, word / 4) + word % 4; }
};

/// The stages of warpgroup_tiles.hpp: core matrices, of which a piece holds the words of one mask of the signs,
/// those of the four lanes in order.
struct core_stages {
    index tokens, stage_words;
    int columns;

    SUBBIT_KERNEL int place_of(int column, int word) const {
        return core_matrices::byte_of(columns, column, word / 16 * 4 + word % 4) / 4 + word / 4 % 4;
    }
};

/// Makes the digits of one part for each job, a block for each token, a warp for each step of 128 entries. The columns
/// of tokens that a tile has and X has not are left as they are: nobody uses the sums that they give.
template <class In, class Real, class Stages>
struct tile_digits_kernel {
    static constexpr int threads = 256, most_threads = threads;
    static constexpr std::size_t shared_bytes = 0;
    static constexpr bool overlaps = true;

    using job = digits_job<In, Real>;
    job jobs[outputs_at_once * max_paths];
    index tokens;
    Stages stages;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        constexpr int digits = fixed_point<Real>::digits;
        wait_for_predecessor(block);
        const job& mine = jobs[block.index() / tokens];
        const index token = block.index() % tokens;
        const scaled_row<In, Real> v(mine.part, token);
        // The word of each step that this lane makes holds 4 entries, 8 from one to the next.
        const index entry = digit_layout::first_entry(block.lane()), steps = digit_layout::steps(v.size);
        const auto read = [&](index step, Real(&values)[4]) {
            SUBBIT_UNROLL
            for (int i = 0; i < 4; ++i) {
                const index j = step * digit_layout::step + entry + 8 * i;
                values[i] = j < v.size ? v[j] : Real(0);
            }
        };
        typename fixed_point<Real>::pattern largest = 0;
        for (index step = block.warp(); step < steps; step += block.warps()) {
            Real values[4];
            read(step, values);
            SUBBIT_UNROLL
            for (int i = 0; i < 4; ++i)
                largest = maximum{}(largest, magnitude_pattern(values[i]));
        }
        const fixed_scale<Real> scale = fixed_scale_of<Real>(block.reduce(largest, maximum{}));

        const int in_tile = static_cast<int>(token % stages.tokens);
        const int column = in_tile / 8 * 8 * digits + in_tile % 8;  // of the lowest digit
        std::uint32_t* words[digits];
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d)
            words[d] = mine.words + token / stages.tokens * steps * stages.stage_words +
                       stages.place_of(column + 8 * d, block.lane());
        std::int32_t sums[digits] = {};
        for (index step = block.warp(); step < steps; step += block.warps()) {
            Real values[4];
            read(step, values);
            std::uint32_t out[digits] = {};
            SUBBIT_UNROLL
            for (int i = 0; i < 4; ++i) {
                const auto bytes = to_digits(values[i], scale.to_integer);
                SUBBIT_UNROLL
                for (int d = 0; d < digits; ++d)
                    out[d] |= static_cast<std::uint32_t>(bytes >> 8 * d & 255u) << 8 * i;
            }
            SUBBIT_UNROLL
            for (int d = 0; d < digits; ++d) {
                words[d][step * stages.stage_words] = out[d];
                sums[d] += byte_sum(block, out[d]);
            }
        }
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d) {
            const std::int32_t sum = block.sum(sums[d]);
            if (block.thread() == 0) mine.sums[token / 8 * 8 * digits + token % 8 + 8 * d] = sum;
        }
        if (block.thread() == 0) mine.to_real[token] = scale.to_real;
    }
};

}  // namespace subbit::gpu
