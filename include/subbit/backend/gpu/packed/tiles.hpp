// Packed products with many vectors, for prefill and training: tiles of 256 rows and 48 tokens on the tensor cores.
//
// The digits of all tokens are made beforehand (tile_digits.hpp) and come to shared memory by asynchronous
// copies, a few steps of 128 entries ahead; the signs go from the device's memory to registers, and there become
// operands by masks and shifts. Every operand of signs serves 9 tiles of digits, so that the masks hide behind the
// matrix products. In float the three digits cost 1.5 times the time of a product of bfloat16 numbers, and the result
// is as exact as a float's.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/tile_digits.hpp>
#include <subbit/backend/gpu/packed/tile_output.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

template <class In, class Out, class Real>
struct packed_tiles_kernel {
    using shape = tile_shape<Real>;
    static constexpr int digits = fixed_point<Real>::digits;
    static constexpr int tiles = shape::groups * digits;  // of 8 columns of digits, a warp

    static constexpr int most_threads = shape::threads;
    static constexpr int least_blocks = 1;  // says to ptxas that all registers are for one
    static_assert(value_bytes<Real, shape::groups> * shape::threads <= shape::shared_bytes);

    packed_job<In, Out, Real> job;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = job.output_of(block.index());
        const packed_output<In, Out, Real>& output = job.outputs[o];
        // Neighbouring blocks share the digits, which are many bytes; the signs are few.
        const int tile = static_cast<int>(block.index() - job.first_block[o]);
        const int row_tiles = static_cast<int>(shape::row_tiles(output.rows()));
        const int row_warp = block.warp() % shape::row_warps, token_warp = block.warp() / shape::row_warps;
        const int first_strip = tile % row_tiles * shape::row_strips + row_warp * shape::strips;
        const int token_tile = tile / row_tiles;
        const int first_group = (token_tile * shape::token_warps + token_warp) * shape::groups;
        std::uint32_t* const stages = block.template shared<std::uint32_t>(index{shape::stages} * shape::stage_words);
        for (int p = 0; p < output.part_count; ++p) {
            std::int32_t sums[shape::strips][tiles][2][4] = {};
            const packed_part<In, Real>& part = output.parts[p];
            multiply(block, part, first_strip, token_tile, token_warp, stages, sums);
            block.sync();  // nobody reads digits any more
            SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s) {
                const strip_place place(output, block.lane(), (first_strip + s) * strip_rows, index{8} * first_group);
                strip_values<Real, shape::groups> values;
                find_digit_values<shape::groups>(
                    part, place,
                    [&](int columns, int row, int c) { return sums[s][columns][sum_pair(row)][sum_element(row, c)]; },
                    values);
                add_values<shape::groups>(block, output, p == 0, place, values, stages);
            }
            block.sync();  // the next part's copies go to where values are still read
        }
    }

  private:
    using sum_tiles = std::int32_t[shape::strips][tiles][2][4];

    template <class Block>
    SUBBIT_KERNEL static void multiply(Block& block, const packed_part<In, Real>& part, int first_strip, int token_tile,
                                       int token_warp, std::uint32_t* stages, sum_tiles& sums) {
        const int steps = static_cast<int>(digit_layout::steps(part.bits.cols()));
        const std::uint32_t* source = part.digits.words + index{token_tile} * steps * shape::stage_words +
                                      4 * block.thread();  // of the next copy
        const auto copy = [&](int step, std::uint32_t* stage) {
            if (step < steps) copy_stage(block, stage + 4 * block.thread(), source);
            source += shape::stage_words;
            commit_copies(block);  // an empty group where there is nothing left
        };
        const auto next_stage = [](int stage) {
            return stage == (shape::stages - 1) * shape::stage_words ? 0 : stage + shape::stage_words;
        };
        for (int s = 0; s + 1 < shape::stages; ++s)
            copy(s, stages + s * shape::stage_words);
        int reading = 0, filling = (shape::stages - 1) * shape::stage_words;
        // A lane reads the same place of every tile of 8 columns; the halves of a column are 16 words apart.
        const int even = unit_word(token_warp * shape::warp_columns + block.lane() / 4, block.lane() % 4);
        const std::uint32_t* const digits_of_lane[2] = {stages + even, stages + (even ^ 16)};
        // One pointer serves both strips. A strip beyond the last row reads that one's signs: nobody uses its sums.
        const index last_group = part.bits.row_groups() - 1;
        const auto group_of = [&](int s) {
            return std::min<index>(2 * (first_strip + s) + block.lane() / 16, last_group);
        };
        const auto* signs_of_lane = reinterpret_cast<const sign_words*>(part.bits.tile(group_of(0), block.lane() % 4) +
                                                                        4 * (block.lane() / 4 % 4));
        const int apart = static_cast<int>((group_of(1) - group_of(0)) * part.bits.col_groups()) * 4;
        int left = static_cast<int>((part.bits.col_groups() - block.lane() % 4 + 3) / 4);
        sign_words next[shape::strips];
        const auto load_next = [&] {
            SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s)
                next[s] = left > 0 ? signs_of_lane[s * apart] : sign_words{};
            signs_of_lane += 16;
            --left;
        };
        load_next();
        for (int step = 0; step < steps; ++step) {
            const sign_words signs[shape::strips] = {next[0], next[1]};
            load_next();
            wait_for_copies(block, pending_copies<shape::stages - 2>());
            block.sync();  // this step's digits are there, and nobody reads those of the stage that is filled next
            multiply_half<0>(block, signs, digits_of_lane[0] + reading, sums);
            copy(step + shape::stages - 1, stages + filling);  // while the tensor cores are at work
            multiply_half<1>(block, signs, digits_of_lane[1] + reading, sums);
            reading = next_stage(reading);
            filling = next_stage(filling);
        }
        wait_for_copies(block, pending_copies<0>());
    }

    /// A thread's share of a stage, at constant distances from where it begins.
    template <class Block>
    SUBBIT_KERNEL static void copy_stage(const Block& block, std::uint32_t* to, const std::uint32_t* from) {
        constexpr int units = shape::stage_words / 4;
        SUBBIT_UNROLL
        for (int first = 0; first < units; first += shape::threads)
            if (first + shape::threads <= units || block.thread() < units - first)
                copy_async(block, to + 4 * first, from + 4 * first);
    }

    /// Adds the products with half of a step's digits: in every column the words of one h (digit_layout).
    template <int Half, class Block>
    SUBBIT_KERNEL static void multiply_half(Block& block, const sign_words (&signs)[shape::strips],
                                            const std::uint32_t* words, sum_tiles& sums) {
        sign_fragment operands[shape::strips][2][2];
        SUBBIT_UNROLL
        for (int s = 0; s < shape::strips; ++s)
            SUBBIT_UNROLL
        for (int pair = 0; pair < 2; ++pair)
            SUBBIT_UNROLL
        for (int k = 0; k < 2; ++k)
            operands[s][pair][k] = masked_signs(signs[s], pair, 4 * Half + 2 * k, 0x01010101u);
        SUBBIT_UNROLL
        for (int tile = 0; tile < tiles; ++tile) {
            const auto x = *reinterpret_cast<const digit_words*>(words + 8 * tile * digit_layout::step_words);
            SUBBIT_UNROLL
            for (int k = 0; k < 2; ++k)
                SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s)
                SUBBIT_UNROLL
            for (int pair = 0; pair < 2; ++pair)
                multiply_add(block, sums[s][tile][pair], operands[s][pair][k], {{x.word[2 * k], x.word[2 * k + 1]}});
        }
    }
};

}  // namespace subbit::gpu
