// Vectors rounded to bfloat16, as packed_warpgroup_tiles.hpp copies them to shared memory.
//
// A lane takes 8 neighbouring entries at each of 8 places of a step, 16 apart: by the layout of that kernel entry i of
// all places makes one piece of 16 bytes. 8 lanes have the same pieces of 8 tokens, a whole core matrix.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/fours.hpp>
#include <subbit/backend/gpu/instructions.hpp>
#include <subbit/backend/gpu/packed_digits.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/packed_tile_digits.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// Rounds the vectors of one part for each job. A block takes 8 tokens and 16 steps, a warp 2 of those steps. The
/// columns of tokens that a tile has and X has not are left as they are: nobody uses the sums that they give.
template <class In>
struct round_kernel {
    static constexpr int threads = 256, most_threads = threads;
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
        round_entries(block, scaled_row<In, float>(mine.part, token), step * digit_layout::step + 8 * half, out);
        SUBBIT_UNROLL
        for (int i = 0; i < 8; ++i) {
            const int place = core_matrices::byte_of(stages.columns, in_tile, 8 * half + i);
            *reinterpret_cast<digit_words*>(stage + place / 4) = out[i];
        }
    }

  private:
    SUBBIT_KERNEL index groups() const { return (tokens + 7) / 8; }

    /// Piece i is entries first + i + 16 p; two of them, p = 2q and 2q + 1, are its word q.
    template <class Block>
    SUBBIT_KERNEL static void round_entries(const Block& block, const scaled_row<In, float>& v, index first,
                                            digit_words (&out)[8]) {
        const bool in_fours = v.in_fours();
        SUBBIT_UNROLL
        for (int q = 0; q < 4; ++q) {
            float x[2][8];
            SUBBIT_UNROLL
            for (int p = 0; p < 2; ++p)
                SUBBIT_UNROLL
            for (int f = 0; f < 2; ++f)
                read_four(v, in_fours, first + 32 * q + 16 * p + 4 * f, x[p] + 4 * f);
            SUBBIT_UNROLL
            for (int i = 0; i < 8; ++i)
                out[i].word[q] = rounded_pair(block, x[0][i], x[1][i]);
        }
    }
    /// Entries j .. j + 3; zeros where there are no more.
    SUBBIT_KERNEL static void read_four(const scaled_row<In, float>& v, bool in_fours, index j, float* out) {
        if (in_fours && j < v.size) {
            const four<In> x = *reinterpret_cast<const four<In>*>(v.x + j);
            const four<float> factors = load_four(v.pre, j, 4, 0, 1.0f);
            SUBBIT_UNROLL
            for (int e = 0; e < 4; ++e)
                out[e] = static_cast<float>(x.at[e]) * factors.at[e];
        } else {
            SUBBIT_UNROLL
            for (int e = 0; e < 4; ++e)
                out[e] = j + e < v.size ? v[j + e] : 0.0f;
        }
    }
};

}  // namespace subbit::gpu
