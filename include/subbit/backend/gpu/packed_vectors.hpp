// Packed products with one to eight vectors: the signs are read once, as a stream, and that is what takes the time.
//
// A block has a strip of 32 rows; its warps share out the columns in steps of 128 and add their sums up in shared
// memory. A thread loads the signs of its next steps before it needs them, the first ones before the kernel before this
// one is done. For one or two vectors every block makes their digits itself, which takes less than another launch
// would; for more they are made beforehand (packed_digits.hpp).
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/packed_digits.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/rounding.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// The columns of digits that a kernel for `Tokens` vectors multiplies with: column d Tokens + t has digit d of vector
/// t.
template <class Real, int Tokens>
struct vector_columns {
    static constexpr int columns = Tokens * fixed_point<Real>::digits;
    static constexpr int tiles = (columns + 7) / 8;
    /// More vectors' digits are made beforehand.
    static constexpr bool in_block = Tokens <= 2;

    static constexpr int threads = 256, warps = threads / warp_size;
    /// The work on a vector's digits that a thread holds in registers (packed_digits.hpp).
    static constexpr int units = 1;
    static constexpr index panel_bytes = 36 * 1024;
    /// The entries whose digits are in shared memory at a time.
    static constexpr index chunk(index n) {
        constexpr index most = panel_bytes / columns / digit_layout::step * digit_layout::step;
        return std::min(most, digit_layout::steps(n) * digit_layout::step);
    }
    /// Words from one column to the next: columns that a quarter of a warp reads together lie in different banks.
    static constexpr index panel_stride(index n) { return chunk(n) / 4 + 16; }
    static constexpr index sum_count = index{threads} * tiles * 8;
    /// Of the columns' own sums: a warp's share of each.
    static constexpr index own_sum_count = in_block ? index{warps} * columns : 0;
    static constexpr index scale_count = in_block ? Tokens : 0;

    static constexpr std::size_t shared_bytes(index n) {
        const index words = sum_count + own_sum_count + (in_block ? columns * panel_stride(n) : 0);
        const index reals = scale_count * (warps + 1), padding = 4 * 16;
        return static_cast<std::size_t>(words) * 4 + static_cast<std::size_t>(reals) * sizeof(Real) + padding;
    }
};

template <class In, class Out, class Real, int Tokens>
struct packed_vectors_kernel {
    using layout = vector_columns<Real, Tokens>;
    static constexpr int digits = fixed_point<Real>::digits;
    static constexpr int depth = Tokens == 1 ? 8 : 4;  // steps whose signs are loaded ahead

    static constexpr int most_threads = layout::threads;
    // A multiprocessor then has room for a block of the kernel after this one, too (gpu::overlaps).
    static constexpr int least_blocks = layout::in_block && sizeof(Real) == 4 ? 2 : 0;
    static constexpr bool overlaps = true;

    using maker = digit_maker<In, Real, layout::threads, Tokens, layout::units>;
    using pattern = typename maker::pattern;

    packed_job<In, Out, Real> job;
    index first_token;  // the kernel takes Tokens from here on; 0 where it makes their digits itself
    index widest;       // the largest number of columns of all parts

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int o = job.output_of(block.index());
        const packed_output<In, Out, Real>& output = job.outputs[o];
        const int strip = static_cast<int>(block.index() - job.first_block[o]);
        const int tokens = static_cast<int>(std::min<index>(Tokens, output.tokens() - first()));

        const shared_memory shared(block, widest);

        // One thread an entry of the result: row thread % 32 of token thread / 32.
        const int row = block.thread() % 32, token = block.thread() / 32;
        const int i = strip * static_cast<int>(strip_rows) + row;
        const bool mine = token < tokens && i < output.rows();
        Real y = 0;
        for (int p = 0; p < output.part_count; ++p) {
            const packed_part<In, Real>& part = output.parts[p];
            sum_part(block, part, strip, tokens, shared);
            block.sync();
            if (mine) {
                const Real value = read_sum(part, shared, row, token);
                y += part.post != nullptr ? rounded_product(part.post[i], value) : value;
            }
            block.sync();
        }
        if (mine) output.add(first() + token, i, y, true);
    }

  private:
    SUBBIT_KERNEL index first() const { return layout::in_block ? 0 : first_token; }

    struct shared_memory {
        std::int32_t* sums;
        std::int32_t* own_sums;  // of the columns of digits: own_sums[warp * columns + column]
        pattern* largest;
        Real* to_real;
        std::uint32_t* panel;

        template <class Block>
        SUBBIT_KERNEL shared_memory(Block& block, index widest)
            : sums(block.template shared<std::int32_t>(layout::sum_count)),
              own_sums(block.template shared<std::int32_t>(layout::own_sum_count)),
              largest(block.template shared<pattern>(layout::scale_count * layout::warps)),
              to_real(block.template shared<Real>(layout::scale_count)),
              panel(block.template shared<std::uint32_t>(
                  layout::in_block ? layout::columns * layout::panel_stride(widest) : 0)) {}
    };

    /// The sums of one part's integers: each warp's to `shared`, with the vectors' own sums and scales beside them.
    template <class Block>
    SUBBIT_KERNEL void sum_part(Block& block, const packed_part<In, Real>& part, int strip, int tokens,
                                const shared_memory& shared) const {
        const index n = part.bits.cols();
        const strip_reader reader(part.bits, block.lane(), strip);
        std::int32_t low[layout::tiles][2][4], high[layout::tiles][2][4];
        // Not before the scales are known: till then the registers are full of what has been read.
        const auto clear_sums = [&] {
            SUBBIT_UNROLL
            for (int e = 0; e < layout::tiles * 8; ++e)
                low[e / 8][e / 4 % 2][e % 4] = high[e / 8][e / 4 % 2][e % 4] = 0;
        };
        const auto load = [&](int step) {
            const sign_words* const address = reader.at(step);
            return address != nullptr ? load_once(block, address) : sign_words{};
        };
        // The signs of steps [first, last) times the digits that prepare() leaves in `words`.
        const auto run = [&](int first, int last, const std::uint32_t* words, int stride, auto prepare) {
            constexpr int warps = layout::warps;
            sign_words ahead[depth];
            SUBBIT_UNROLL
            for (int a = 0; a < depth; ++a)
                ahead[a] = load(first + block.warp() + a * warps);
            prepare();
            for (int step = first + block.warp(); step < last; step += depth * warps) {
                SUBBIT_UNROLL
                for (int a = 0; a < depth; ++a) {
                    const int at = step + a * warps;
                    if (at >= last) break;
                    const sign_words signs = ahead[a];
                    ahead[a] = load(at + depth * warps);
                    multiply_step(block, signs, words + (at - first) * digit_layout::step_words, stride, tokens, low,
                                  high);
                }
            }
        };
        if constexpr (layout::in_block) {
            maker make(block.thread(), scaled_row<In, Real>(part, first()), part.X.row_stride);
            const index chunk = layout::chunk(widest);
            const int stride = static_cast<int>(layout::panel_stride(widest));
            index begin = 0;
            do {
                const index end = std::min(begin + chunk, n);
                run(static_cast<int>(begin / digit_layout::step), static_cast<int>(digit_layout::steps(end)),
                    shared.panel, stride, [&] {
                        if (begin == 0) {
                            make.find_scales(block, shared.largest);
                            clear_sums();
                        } else {
                            block.sync();  // the last chunk's digits are no longer needed
                        }
                        make.write_digits(block, maker::units(begin), maker::units(end), shared.panel, stride,
                                          Tokens * stride);
                        block.sync();
                    });
                begin += chunk;
            } while (begin < n);
            make.write_sums(block, shared.own_sums);
            if (block.thread() == 0) SUBBIT_UNROLL
            for (int t = 0; t < Tokens; ++t)
                shared.to_real[t] = make.to_real(t);
        } else {
            static_assert(Tokens == 8, "tokens are made into digits in groups of 8");
            const int stride = static_cast<int>(digit_layout::words(n));
            run(0, static_cast<int>(digit_layout::steps(n)), part.digits.words + first() * digits * index{stride},
                stride, [&] {
                    clear_sums();
                    wait_for_predecessor(block);
                });
        }
        for (int t = 0; t < layout::tiles; ++t)
            for (int pair = 0; pair < 2; ++pair)
                for (int e = 0; e < 4; ++e)
                    shared.sums[sum_index(block.warp(), t, pair, e) + block.lane()] =
                        low[t][pair][e] + (high[t][pair][e] >> 4);
    }

    /// Adds the products of a strip's 128 columns; `words` has their digits, column after column.
    template <class Block>
    SUBBIT_KERNEL static void multiply_step(Block& block, const sign_words& signs, const std::uint32_t* words,
                                            index stride, int tokens, std::int32_t (&low)[layout::tiles][2][4],
                                            std::int32_t (&high)[layout::tiles][2][4]) {
        SUBBIT_UNROLL
        for (int tile = 0; tile < layout::tiles; ++tile) {
            const int column = 8 * tile + block.lane() / 4;
            const bool used = column < layout::columns && column % Tokens < tokens;
            const auto* const address =
                reinterpret_cast<const digit_words*>(words + column * stride + 4 * (block.lane() % 4));
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
        return (((warp * layout::tiles + tile) * 2 + pair) * 4 + e) * 32;
    }

    SUBBIT_KERNEL Real read_sum(const packed_part<In, Real>& part, const shared_memory& shared, int row,
                                int token) const {
        std::int32_t totals[digits];
        SUBBIT_UNROLL
        for (int d = 0; d < digits; ++d) {
            const int column = d * Tokens + token, in_tile = column % 8;
            const std::int32_t* const of_row = shared.sums +
                                               sum_index(0, column / 8, sum_pair(row), sum_element(row, in_tile)) +
                                               sum_lane(row, in_tile);
            std::int32_t sum = 0, own = layout::in_block ? 0 : part.digits.sums[first() * digits + column];
            SUBBIT_UNROLL
            for (int w = 0; w < layout::warps; ++w) {
                sum += of_row[sum_index(w, 0, 0, 0)];
                if constexpr (layout::in_block) own += shared.own_sums[w * layout::columns + column];
            }
            totals[d] = 2 * sum - own;
        }
        return from_digit_sums(totals, 1,
                               layout::in_block ? shared.to_real[token] : part.digits.to_real[first() + token]);
    }
};

}  // namespace subbit::gpu
