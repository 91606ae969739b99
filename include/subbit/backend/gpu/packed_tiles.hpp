// Packed products with many vectors, for prefill and training: tiles of 256 rows and 48 tokens on the tensor cores.
//
// The digits of all tokens are made beforehand (packed_digits.hpp) and come to shared memory by asynchronous copies, a
// few steps of 128 entries ahead; the signs go from the device's memory to registers, and there become operands by
// masks and shifts. Every operand of signs serves 9 tiles of digits, so that the masks hide behind the matrix products.
// In float the three digits cost 1.5 times the time of a product of bfloat16 numbers, and the result is as exact as a
// float's.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/packed_tile_digits.hpp>

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

    packed_job<In, Out, Real> job;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = job.output_of(block.index());
        const packed_output<In, Out, Real>& output = job.outputs[o];
        // Neighbouring blocks share the digits, which are many bytes; the signs are few.
        const index tile = block.index() - job.first_block[o], row_tiles = shape::row_tiles(output.rows());
        const index row_warp = block.warp() % shape::row_warps, token_warp = block.warp() / shape::row_warps;
        const index first_strip = tile % row_tiles * (shape::rows / strip_rows) + row_warp * shape::strips;
        const index token_tile = tile / row_tiles;
        std::uint32_t* const stages = block.template shared<std::uint32_t>(index{shape::stages} * shape::stage_words);
        for (int p = 0; p < output.part_count; ++p) {
            std::int32_t sums[shape::strips][tiles][2][4] = {};
            const packed_part<In, Real>& part = output.parts[p];
            multiply(block, part, first_strip, token_tile, token_warp, stages, sums);
            const index first_group = (token_tile * shape::token_warps + token_warp) * shape::groups;
            store(block, output, p, first_strip, first_group, sums);
            block.sync();  // the next part's copies go to where digits are still read
        }
    }

  private:
    using sum_tiles = std::int32_t[shape::strips][tiles][2][4];

    template <class Block>
    SUBBIT_KERNEL static void multiply(Block& block, const packed_part<In, Real>& part, index first_strip,
                                       index token_tile, index token_warp, std::uint32_t* stages, sum_tiles& sums) {
        const int steps = static_cast<int>(digit_layout::steps(part.bits.cols()));
        const std::uint32_t* source =
            part.digits.words + token_tile * steps * shape::stage_words + 4 * block.thread();  // of the next copy
        const auto copy = [&](int step, std::uint32_t* stage) {
            if (step < steps) copy_stage(block, stage + 4 * block.thread(), source);
            source += shape::stage_words;
            commit_copies(block);  // an empty group where there is nothing left
        };
        const auto next_stage = [&](std::uint32_t* stage) {
            return stage == stages + (shape::stages - 1) * shape::stage_words ? stages : stage + shape::stage_words;
        };
        for (int s = 0; s + 1 < shape::stages; ++s)
            copy(s, stages + s * shape::stage_words);
        std::uint32_t *reading = stages, *filling = stages + (shape::stages - 1) * shape::stage_words;
        strip_reader readers[shape::strips] = {{part.bits, block.lane(), first_strip},
                                               {part.bits, block.lane(), first_strip + 1}};
        const auto load = [&](int s, int step) {
            const sign_words* const address = readers[s].at(step);
            return address != nullptr ? *address : sign_words{};
        };
        sign_words next[shape::strips];
        SUBBIT_UNROLL
        for (int s = 0; s < shape::strips; ++s)
            next[s] = load(s, 0);
        for (int step = 0; step < steps; ++step) {
            sign_words signs[shape::strips];
            SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s) {
                signs[s] = next[s];
                next[s] = load(s, step + 1);
            }
            wait_for_copies(block, pending_copies<shape::stages - 2>());
            block.sync();  // this step's digits are there, and nobody reads those of the stage that is filled next
            const int first_column = static_cast<int>(token_warp) * shape::warp_columns;
            multiply_half<0>(block, signs, reading, first_column, sums);
            copy(step + shape::stages - 1, filling);  // while the tensor cores are at work
            multiply_half<1>(block, signs, reading, first_column, sums);
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
                                            const std::uint32_t* stage, int first_column, sum_tiles& sums) {
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
            const int column = first_column + 8 * tile + block.lane() / 4;
            const auto x =
                *reinterpret_cast<const digit_words*>(stage + unit_word(column, 4 * Half + block.lane() % 4));
            SUBBIT_UNROLL
            for (int k = 0; k < 2; ++k)
                SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s)
                SUBBIT_UNROLL
            for (int pair = 0; pair < 2; ++pair)
                multiply_add(block, sums[s][tile][pair], operands[s][pair][k], {{x.word[2 * k], x.word[2 * k + 1]}});
        }
    }

    template <class Block>
    SUBBIT_KERNEL static void store(const Block& block, const packed_output<In, Out, Real>& output, int p,
                                    index first_strip, index first_group, const sum_tiles& sums) {
        const packed_part<In, Real>& part = output.parts[p];
        SUBBIT_UNROLL
        for (int group = 0; group < shape::groups; ++group)
            SUBBIT_UNROLL
        for (int c = 0; c < 2; ++c) {
            const index in_group = 2 * (block.lane() % 4) + c, token = 8 * (first_group + group) + in_group;
            if (token >= output.tokens()) continue;
            const Real to_real = part.digits.to_real[token];
            const std::int32_t* const all = part.digits.sums + 8 * digits * (first_group + group) + in_group;
            SUBBIT_UNROLL
            for (int s = 0; s < shape::strips; ++s)
                SUBBIT_UNROLL
            for (int row = 0; row < 4; ++row) {
                const index i = (first_strip + s) * strip_rows + 4 * (block.lane() / 4) + row;
                std::int32_t totals[digits];
                for (int d = 0; d < digits; ++d)
                    totals[d] = 2 * sums[s][group * digits + d][sum_pair(row)][sum_element(row, c)] - all[8 * d];
                if (i >= output.rows()) continue;
                const Real value = from_digit_sums(totals, 1, to_real);
                output.add(token, i, part.post != nullptr ? part.post[i] * value : value, p == 0);
            }
        }
    }
};

}  // namespace subbit::gpu
