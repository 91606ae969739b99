// Vectors rounded to bfloat16, as warpgroup_tiles.hpp copies them to shared memory.
//
// A lane takes 8 neighbouring entries at each of 8 places of a step, 16 apart: by the layout of that kernel entry i of
// all places makes one piece of 16 bytes. 8 lanes have the same pieces of 8 tokens, a whole core matrix.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/fours.hpp>
#include <subbit/backend/gpu/packed/digits.hpp>
#include <subbit/backend/gpu/packed/product.hpp>
#include <subbit/backend/gpu/packed/tile_digits.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// Rounds the vectors of one part for each job. A block takes 8 tokens and 16 steps, a warp 2 of those steps. The
/// columns of tokens that a tile has and X has not are left as they are: nobody uses the sums that they give.
template <class In>
struct round_kernel {
    static constexpr int threads = 256, most_threads = threads;
    static constexpr bool overlaps = true;
    static constexpr index block_steps = 2 * threads / warp_size;

    struct job {
        packed_part<In, float> part;
        std::uint32_t* words;
    };
    job jobs[outputs_at_once * max_paths];
    index tokens, pieces;  ///< pieces of block_steps steps, of the longest vectors
    core_stages stages;

    index blocks(index parts) const { return parts * groups() * pieces; }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const index group = block.index() / pieces;
        const job& mine = jobs[group / groups()];
        const int lane = block.lane();
        const index token = group % groups() * 8 + lane % 8;
        const index step = block.index() % pieces * block_steps + 2 * block.warp() + lane / 16;
        const index steps = digit_layout::steps(mine.part.bits.cols());
        if (token >= tokens || step >= steps) return;
        const int in_tile = static_cast<int>(token % stages.tokens), half = lane / 8 % 2;
        std::uint32_t* const stage = mine.words + (token / stages.tokens * steps + step) * stages.stage_words;
        digit_words out[8];
        const scaled_row<In, float> v(mine.part, token);
        const index first = step * digit_layout::step + 8 * half;
        if (v.in_fours())
            round_entries<true>(block, v, first, out);
        else
            round_entries<false>(block, v, first, out);
        SUBBIT_UNROLL
        for (int i = 0; i < 8; ++i) {
            const int place = core_matrices::byte_of(stages.columns, in_tile, 8 * half + i);
            *reinterpret_cast<digit_words*>(stage + place / 4) = out[i];
        }
    }

  private:
    SUBBIT_KERNEL index groups() const { return (tokens + 7) / 8; }

    /// Piece i is entries first + i + 16 p; two of them, p = 2q and 2q + 1, are its word q.
    template <bool InFours, class Block>
    SUBBIT_KERNEL static void round_entries(const Block& block, const scaled_row<In, float>& v, index first,
                                            digit_words (&out)[8]) {
        four<In> x[4][4];
        SUBBIT_UNROLL
        for (int f = 0; f < 16; ++f)
            x[f / 4][f % 4] = entries_at<InFours>(v.x, v.stride, v.size, first + entry_of(f));
        SUBBIT_UNROLL
        for (int q = 0; q < 4; ++q) {
            four<float> factors[4] = {{{1, 1, 1, 1}}, {{1, 1, 1, 1}}, {{1, 1, 1, 1}}, {{1, 1, 1, 1}}};
            if (v.pre != nullptr) {
                SUBBIT_UNROLL
                for (int f = 0; f < 4; ++f)
                    factors[f] = entries_at<InFours>(v.pre, 1, v.size, first + entry_of(4 * q + f));
            }
            const auto scaled = [&](int f, int e) { return static_cast<float>(x[q][f].at[e]) * factors[f].at[e]; };
            SUBBIT_UNROLL
            for (int i = 0; i < 8; ++i)
                out[i].word[q] = rounded_pair(block, scaled(i / 4, i % 4), scaled(2 + i / 4, i % 4));
        }
    }
    /// Where the f-th four of a lane's entries begins.
    SUBBIT_KERNEL static constexpr int entry_of(int f) { return f / 2 * 16 + f % 2 * 4; }

    /// Entries j .. j + 3; zeros where there are no more.
    template <bool InFours, class T>
    SUBBIT_KERNEL static four<T> entries_at(const T* from, index stride, index size, index j) {
        four<T> x = {};
        if constexpr (InFours) {
            if (j < size) x = *reinterpret_cast<const four<T>*>(from + j);
        } else {
            SUBBIT_UNROLL
            for (int e = 0; e < 4; ++e)
                if (j + e < size) x.at[e] = from[(j + e) * stride];
        }
        return x;
    }
};

}  // namespace subbit::gpu
