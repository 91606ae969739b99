// Packed products with up to 16 vectors, eight at a time: the signs are read as a stream, and multiplied with digits
// that were made beforehand (digits.hpp).
//
// A block has a strip of 32 rows; its warps share out the columns in steps of 128 and add their sums up in shared
// memory. A thread loads the signs of its next steps before it needs them, the first ones before the kernel before this
// one is done.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/kernels/rounding.hpp>
#include <subbit/backend/gpu/packed/digits.hpp>
#include <subbit/backend/gpu/packed/product.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// The columns of digits that a kernel multiplies with: column 8d + t has digit d of vector t.
template <class Real>
struct digit_columns {
    static constexpr int vectors = 8, tiles = fixed_point<Real>::digits;
    static constexpr int threads = 256, warps = threads / warp_size;
    static constexpr std::size_t shared_bytes = std::size_t{threads} * tiles * 8 * 4;
};

template <class In, class Out, class Real>
struct digit_vectors_kernel {
    using layout = digit_columns<Real>;
    static constexpr int digits = fixed_point<Real>::digits, tiles = layout::tiles;
    static constexpr int depth = 4;  // steps whose signs are loaded ahead

    static constexpr int most_threads = layout::threads;
    static constexpr bool overlaps = true;

    packed_job<In, Out, Real> job;
    index first_token;  // the kernel takes layout::vectors from here on

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = job.output_of(block.index());
        const packed_output<In, Out, Real>& output = job.outputs[o];
        const int strip = static_cast<int>(block.index() - job.first_block[o]);
        const int tokens = static_cast<int>(std::min<index>(layout::vectors, output.tokens() - first_token));
        std::int32_t* const sums = block.template shared<std::int32_t>(index{layout::threads} * tiles * 8);

        // One thread an entry of the result: row thread % 32 of token thread / 32.
        const int row = block.thread() % 32, token = block.thread() / 32;
        const int i = strip * static_cast<int>(strip_rows) + row;
        const bool mine = token < tokens && i < output.rows();
        Real y = 0;
        for (int p = 0; p < output.part_count; ++p) {
            const packed_part<In, Real>& part = output.parts[p];
            sum_part(block, part, strip, tokens, sums);
            block.sync();
            if (mine) {
                const Real value = read_sum(part, sums, row, token);
                y += part.post != nullptr ? rounded_product(part.post[i], value) : value;
            }
            block.sync();
        }
        if (mine) output.add(first_token + token, i, y, true);
    }

  private:
    /// The sums of one part's integers, each warp's to `sums`.
    template <class Block>
    SUBBIT_KERNEL void sum_part(Block& block, const packed_part<In, Real>& part, int strip, int tokens,
                                std::int32_t* sums) const {
        constexpr int warps = layout::warps;
        const index n = part.bits.cols();
        const int stride = static_cast<int>(digit_layout::words(n)), steps = static_cast<int>(digit_layout::steps(n));
        const std::uint32_t* const words = part.digits.words + first_token * digits * index{stride};
        const strip_reader reader(part.bits, block.lane(), strip);
        const auto load = [&](int step) {
            const sign_words* const address = reader.at(step);
            return address != nullptr ? load_once(block, address) : sign_words{};
        };
        sign_words ahead[depth];
        SUBBIT_UNROLL
        for (int a = 0; a < depth; ++a)
            ahead[a] = load(block.warp() + a * warps);
        std::int32_t low[tiles][2][4] = {}, high[tiles][2][4] = {};
        wait_for_predecessor(block);
        for (int step = block.warp(); step < steps; step += depth * warps) {
            SUBBIT_UNROLL
            for (int a = 0; a < depth; ++a) {
                const int at = step + a * warps;
                if (at >= steps) break;
                const sign_words signs = ahead[a];
                ahead[a] = load(at + depth * warps);
                multiply_step(block, signs, words + at * digit_layout::step_words, stride, tokens, low, high);
            }
        }
        SUBBIT_UNROLL
        for (int t = 0; t < tiles; ++t)
            SUBBIT_UNROLL
        for (int e = 0; e < 8; ++e)
            sums[sum_index(block.warp(), t, e / 4, e % 4) + block.lane()] =
                low[t][e / 4][e % 4] + (high[t][e / 4][e % 4] >> 4);
    }

    /// Adds the products of a strip's 128 columns; `words` has their digits, column after column.
    template <class Block>
    SUBBIT_KERNEL static void multiply_step(Block& block, const sign_words& signs, const std::uint32_t* words,
                                            index stride, int tokens, std::int32_t (&low)[tiles][2][4],
                                            std::int32_t (&high)[tiles][2][4]) {
        SUBBIT_UNROLL
        for (int tile = 0; tile < tiles; ++tile) {
            const bool used = block.lane() / 4 < tokens;
            const auto* const address = reinterpret_cast<const digit_words*>(
                words + (8 * tile + block.lane() / 4) * stride + 4 * (block.lane() % 4));
            const digit_words even = used ? address[0] : digit_words{}, odd = used ? address[4] : digit_words{};
            SUBBIT_UNROLL
            for (int k = 0; k < 4; k += 2)
                SUBBIT_UNROLL
            for (int pair = 0; pair < 2; ++pair) {
                multiply_add(block, low[tile][pair], masked_signs(signs, pair, k, 0x01010101u),
                             {{even.word[k], even.word[k + 1]}});
                multiply_add(block, high[tile][pair], masked_signs(signs, pair, k, 0x10101010u),
                             {{odd.word[k], odd.word[k + 1]}});
            }
        }
    }

    /// Where element e of all lanes' sums lies.
    SUBBIT_KERNEL static int sum_index(int warp, int tile, int pair, int e) {
        return (((warp * tiles + tile) * 2 + pair) * 4 + e) * 32;
    }

    SUBBIT_KERNEL Real read_sum(const packed_part<In, Real>& part, const std::int32_t* sums, int row, int token) const {
        std::int32_t totals[digits];
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d) {
            const std::int32_t* const of_row =
                sums + sum_index(0, d, sum_pair(row), sum_element(row, token)) + sum_lane(row, token);
            std::int32_t sum = 0;
            SUBBIT_UNROLL
            for (int w = 0; w < layout::warps; ++w)
                sum += of_row[sum_index(w, 0, 0, 0)];
            totals[d] = 2 * sum - part.digits.sums[first_token * digits + 8 * d + token];
        }
        return from_digit_sums(totals, 1, part.digits.to_real[first_token + token]);
    }
};

}  // namespace subbit::gpu
