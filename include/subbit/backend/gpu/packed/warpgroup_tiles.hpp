// Packed products with many vectors on GPUs whose warpgroups multiply (sm_90a): tiles of 128 rows for each warpgroup.
//
// The signs are operands in registers: a lane makes them of its bits, once for all tokens of the tile, for the next
// products while the tensor cores are at work on the last ones. The vectors are operands in shared memory, where bulk
// copies bring them as they lie in the workspace, one copy for a step of 128 entries, two steps ahead. They are one
// of two kinds of numbers:
//
// - digits (fixed_point.hpp): bytes, times 0 and 1, in 32-bit sums, whatever kernel makes them: exact;
// - numbers rounded to bfloat16 (rounded.hpp), times +1 and -1, in float sums: a third of the products' work at
//   half of their rate.
//
// Of the bits that a lane has of a row, 32 columns, one mask takes 2 or 4 for an operand's word: columns k, k + s, k +
// 2s, .. of the lane's, s = 32 / (numbers of a word). Of a step, piece k of a column (core_matrices.hpp) therefore
// holds entries k + s i of each of the 4 lanes' 32, lane after lane; product i of a step takes pieces 2i and 2i + 1.
//
// An H100 needs 64 clocks for one product of 64 rows, 128 columns and 32 bytes of each, in either format. Each warp of
// a warpgroup makes its 4 words of bfloat16 signs by 8 instructions of 2 clocks meanwhile. L2 gives 16 bytes a clock to
// a multiprocessor: 4096 divided by the 256 rows of a tile.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/packed/core_matrices.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/tile_digits.hpp>
#include <subbit/backend/gpu/packed/tile_output.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subbit::gpu {

/// Vectors as the digits of float numbers.
struct exact_numbers {
    using sum = std::int32_t;
    static constexpr int columns_per_token = fixed_point<float>::digits;
    static constexpr int pieces = 8;  ///< of 16 bytes, of a column's step
    template <class Block>
    SUBBIT_KERNEL static std::uint32_t signs(const Block&, std::uint32_t bits, int k) {
        return bits >> k & 0x01010101u;
    }
};

/// Vectors of bfloat16 numbers.
struct rounded_numbers {
    using sum = float;
    static constexpr int columns_per_token = 1;
    static constexpr int pieces = 16;
    template <class Block>
    SUBBIT_KERNEL static std::uint32_t signs(const Block& block, std::uint32_t bits, int k) {
        return unit_pair(block, bits << (15 - k));
    }
};

/// The shape of a tile: 128 rows for each warpgroup, so many tokens.
template <class Numbers, int Warpgroups, int Tokens>
struct warpgroup_shape {
    using numbers = Numbers;
    static constexpr int warpgroups = Warpgroups, tokens = Tokens, groups = Tokens / 8;
    static constexpr int threads = warpgroups * warpgroup_size, rows = threads;
    static constexpr int columns = tokens * Numbers::columns_per_token;
    static constexpr int products = Numbers::pieces / 2;  ///< of a step
    static constexpr int stages = 4;
    static constexpr int stage_words = columns * Numbers::pieces * core_matrices::piece_bytes / 4;
    static constexpr int stage_bytes = 4 * stage_words;
    static constexpr std::size_t shared_bytes = std::size_t{stages} * (stage_bytes + 16);

    static constexpr index row_tiles(index m) { return (m + rows - 1) / rows; }
    static constexpr index token_tiles(index t) { return (t + tokens - 1) / tokens; }
    static constexpr core_stages stage() { return {tokens, stage_words, columns}; }
};

template <class Shape, class In, class Out>
struct warpgroup_tiles_kernel {
    using numbers = typename Shape::numbers;
    static constexpr bool rounded = std::is_same_v<numbers, rounded_numbers>;
    static constexpr int groups = Shape::groups;
    static constexpr int most_threads = Shape::threads;
    // Where the registers suffice, one block begins and ends while another multiplies.
    static constexpr int least_blocks = Shape::columns <= 64 ? 4 / Shape::warpgroups : 1;
    static constexpr bool needs_warpgroups = true, overlaps = true;
    static_assert(value_bytes<float, groups> * Shape::threads <= std::size_t{Shape::stages} * Shape::stage_bytes);

    packed_job<In, Out, float> job;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = job.output_of(block.index());
        const packed_output<In, Out, float>& output = job.outputs[o];
        // Neighbouring blocks share the vectors, which are many bytes; the signs are few.
        const index tile = block.index() - job.first_block[o], row_tiles = Shape::row_tiles(output.rows());
        const index strip = tile % row_tiles * (Shape::rows / strip_rows) + block.warp(), token_tile = tile / row_tiles;
        stage_ring ring{block.template shared<std::uint32_t>(index{Shape::stages} * Shape::stage_words),
                        block.template shared<arrival>(Shape::stages)};
        if (block.thread() == 0) make_arrivals(block, ring.arrivals, Shape::stages);
        block.sync();
        for (int p = 0; p < output.part_count; ++p) {
            const packed_part<In, float>& part = output.parts[p];
            pair_sums even = {}, odd = {};
            multiply(block, part, strip, token_tile, ring, even, odd);
            const strip_place place(output, block.lane(), strip * strip_rows, token_tile * Shape::tokens);
            strip_values<float, groups> values;
            find_values(part, place, even, odd, values);
            block.sync();  // nobody reads the stages any more
            add_values<groups>(block, output, p == 0, place, values, ring.words);
            release_to_bulk(block);
            block.sync();  // the next part's copies go to where values are still read
        }
    }

  private:
    /// Of rows 4g and 4g + 1 of a strip, or of 4g + 2 and 4g + 3.
    using pair_sums = typename numbers::sum[Shape::columns / 2];

    /// The stages, which are filled one after the other, around and around.
    struct stage_ring {
        std::uint32_t* words;
        arrival* arrivals;
        int begun = 0;  ///< steps of the parts so far: the next step's stage is begun % stages

        SUBBIT_KERNEL std::uint32_t* stage(int step) const {
            return words + (begun + step) % Shape::stages * Shape::stage_words;
        }
        SUBBIT_KERNEL arrival& arrival_of(int step) const { return arrivals[(begun + step) % Shape::stages]; }
        SUBBIT_KERNEL int parity(int step) const { return (begun + step) / Shape::stages % 2; }
    };

    template <class Block>
    SUBBIT_KERNEL static void multiply(Block& block, const packed_part<In, float>& part, index strip, index token_tile,
                                       stage_ring& ring, pair_sums& even, pair_sums& odd) {
        const int steps = static_cast<int>(digit_layout::steps(part.bits.cols()));
        const std::uint32_t* const source = part.digits.words + token_tile * steps * Shape::stage_words;
        const auto copy = [&](int step) {
            if (block.thread() == 0 && step < steps)
                copy_bulk(block, ring.stage(step), source + index{step} * Shape::stage_words, Shape::stage_bytes,
                          ring.arrival_of(step));
        };
        // A strip beyond the last row reads that one's signs: nobody uses its sums.
        const index group = std::min<index>(2 * strip + block.lane() / 16, part.bits.row_groups() - 1);
        const auto* signs_of_lane =
            reinterpret_cast<const sign_words*>(part.bits.tile(group, block.lane() % 4) + 4 * (block.lane() / 4 % 4));
        int left = static_cast<int>((part.bits.col_groups() - block.lane() % 4 + 3) / 4);
        sign_words next;
        const auto load_next = [&] {
            next = left > 0 ? *signs_of_lane : sign_words{};
            signs_of_lane += 16;
            --left;
        };
        load_next();
        wait_for_predecessor(block);
        constexpr int ahead = 2;
        for (int s = 0; s < ahead; ++s)
            copy(s);
        sign_words signs = next;
        load_next();
        pair_operands operands(block, signs, 0);
        for (int step = 0; step < steps; ++step) {
            wait_for_bulk(block, ring.arrival_of(step), ring.parity(step));
            // The last products of the step before may be at work still, but none of those before that one, whose stage
            // is filled next.
            block.sync();
            copy(step + ahead);
            SUBBIT_UNROLL
            for (int i = 0; i < Shape::products; ++i) {
                const std::uint32_t* const columns =
                    ring.stage(step) + i * (core_matrices::operand_bytes(Shape::columns) / 4);
                begin_products(block, operands.even, operands.odd);
                add_products(block, even, operands.even, columns);
                add_products(block, odd, operands.odd, columns);
                commit_products(block);
                // The next operands are made while the tensor cores are at work, across the steps' border too.
                if (i + 1 == Shape::products) {
                    signs = next;
                    load_next();
                }
                operands = pair_operands(block, signs, (i + 1) % Shape::products);
                wait_for_products(block, pending_products<1>());
            }
        }
        ring.begun += steps;
        finish_products(block, even, odd);
    }

    /// A lane's operands of a product, pieces 2i and 2i + 1, for both pairs of its rows.
    struct pair_operands {
        sign_fragment even, odd;

        template <class Block>
        SUBBIT_KERNEL pair_operands(const Block& block, const sign_words& signs, int i)
            : even(of_rows(block, signs.row[0], signs.row[1], 2 * i)),
              odd(of_rows(block, signs.row[2], signs.row[3], 2 * i)) {}

      private:
        template <class Block>
        SUBBIT_KERNEL static sign_fragment of_rows(const Block& block, std::uint32_t first, std::uint32_t second,
                                                   int piece) {
            return {{numbers::signs(block, first, piece), numbers::signs(block, second, piece),
                     numbers::signs(block, first, piece + 1), numbers::signs(block, second, piece + 1)}};
        }
    };

    SUBBIT_KERNEL static void find_values(const packed_part<In, float>& part, const strip_place& place,
                                          const pair_sums& even, const pair_sums& odd,
                                          strip_values<float, groups>& values) {
        const auto sum = [&](int columns, int row, int c) {
            return (sum_pair(row) == 0 ? even : odd)[4 * columns + sum_element(row, c)];
        };
        if constexpr (rounded) {
            const four<float> post = load_four(part.post, place.row, place.rows, 0, 1.0f);
            SUBBIT_UNROLL
            for (int group = 0; group < groups; ++group)
                SUBBIT_UNROLL
            for (int c = 0; c < 2; ++c)
                SUBBIT_UNROLL
            for (int row = 0; row < 4; ++row)
                values[group][c].at[row] = rounded_product(post.at[row], sum(group, row, c));
        } else {
            find_digit_values<groups>(part, place, sum, values);
        }
    }
};

}  // namespace subbit::gpu
