// Packed products with few vectors: the signs are read once, and binary tensor cores take them as they are.
//
// A block has some strips of 32 rows; its warps share out the columns, hold their part of the vectors as bit planes
// (vector_sources.hpp) in registers, and add their sums up in shared memory, in the order of the warps. What a block
// reads of the signs and scales is on its way before the kernel before this one is done.
//
// With one vector, what takes the time is not the bytes but the way of one warp from its numbers to its sums. So
// nothing is waited for on that way but the warp's own largest number; warps are many and have few columns each; and
// the product before another leaves its outputs as planes.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/rounding.hpp>
#include <subbit/backend/gpu/vector_sources.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// Y = alpha (sum of the parts + bias) + beta Y; beta = 0 does not read Y.
template <class Out>
struct matrix_target {
    const float* bias = nullptr;  ///< m, or null: zeros
    matrix_view<Out> Y;           ///< (vectors, m)
    float alpha = 1, beta = 0;

    SUBBIT_KERNEL int rows() const { return static_cast<int>(Y.cols); }
};

/// diag(scale) y as planes, for a product of one part.
struct plane_target {
    const float* scale = nullptr;  ///< m, or null: ones
    plane_view planes;

    SUBBIT_KERNEL int rows() const { return planes.size; }
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

/// The columns of a warp: `Halves` times 128 of those from `first` on, taken in turns by the warps of a block.
struct warp_columns {
    static constexpr int half = 128;
    int first, warp, warps, lane;

    /// The first column of the h-th half, the same for all lanes.
    SUBBIT_KERNEL int begin(int h) const { return first + (h * warps + warp) * half; }
    /// The first of the four columns of it that the lane has.
    SUBBIT_KERNEL int operator()(int h) const { return begin(h) + lane % 4 * 32 + lane / 4 * 4; }
};

/// The outputs of one launch, whose strips are shared out to all blocks, consecutive ones to each. The kernel has up to
/// `Vectors` vectors, from `first_vector` on.
template <class Source, class Target, int Vectors, int Halves>
struct packed_vectors_kernel {
    static constexpr int most_warps = 16, most_threads = most_warps * warp_size;
    static constexpr bool overlaps = true;

    vector_output<Source, Target> outputs[outputs_at_once];
    int first_strip[outputs_at_once + 1] = {};  ///< of an output; behind the last one the number of all
    int count = 0;
    int first_vector = 0, vectors = 1;

    /// How many columns a block of so many warps has at a time.
    static constexpr int chunk(int warps) { return Halves * warp_columns::half * warps; }
    /// Two sets of sums, which take turns, and the vectors' magnitudes.
    static constexpr std::size_t shared_bytes(int threads) {
        return static_cast<std::size_t>(2 * Vectors * threads + Vectors * most_warps) * sizeof(float);
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int all = first_strip[count];
        const auto first_of = [&](index b) { return static_cast<int>(b * all / block.blocks()); };
        const int end = first_of(block.index() + 1);
        float* const sums = block.template shared<float>(index{2 * Vectors} * block.threads());
        float* const magnitudes = block.template shared<float>(index{Vectors} * most_warps);
        piece at = piece_at(first_of(block.index()));
        pending next;
        held planes;
        if (at.strip < end) {
            prefetch(block, at, end);
            load(block, at, next);
            planes.factors = factors_of(block, at);
        }
        wait_for_predecessor(block);
        for (int turn = 0; at.strip < end; turn ^= 1) {
            const vector_output<Source, Target>& output = outputs[at.output];
            const int row = (at.strip - first_strip[at.output]) * static_cast<int>(strip_rows) + block.lane();
            const float old = old_output(block, output.target, row);
            multiply_strip(block, at, end, next, planes, sums + turn * Vectors * block.threads(), magnitudes);
            block.sync();
            finish(block, output.target, row, old, sums + turn * Vectors * block.threads(), magnitudes);
        }
    }

  private:
    static constexpr int tiles = Source::tiles;

    /// What is multiplied in one go: columns `first` and on of a part of a strip.
    struct piece {
        int output, strip, part = 0, first = 0;
    };
    /// What a thread has read of a piece.
    struct pending {
        sign_words signs[Halves];
        float post = 1;
    };
    /// The planes of a piece, which serve all strips of an output that has but one piece a strip.
    struct held {
        int output = -1;  ///< whose planes these are; none: -1
        typename Source::template factors<Halves> factors;
        warp_planes<tiles, Halves> of[Vectors];
    };

    SUBBIT_KERNEL piece piece_at(int strip) const {
        int o = 0;
        while (o + 1 < count && first_strip[o + 1] <= strip)
            ++o;
        return {o, strip};
    }
    template <class Block>
    SUBBIT_KERNEL void advance(const Block& block, piece& at) const {
        const vector_output<Source, Target>& output = outputs[at.output];
        at.first += chunk(block.warps());
        if (at.first < output.parts[at.part].bits.cols()) return;
        at.first = 0;
        if (++at.part < output.part_count) return;
        at = piece_at(at.strip + 1);
    }
    template <class Block>
    SUBBIT_KERNEL static warp_columns columns(const Block& block, const piece& at) {
        return {at.first, block.warp(), block.warps(), block.lane()};
    }

    /// Has the signs of the block's strips of one output on their way to the L2 cache.
    template <class Block>
    SUBBIT_KERNEL void prefetch(Block& block, const piece& at, int end) const {
        if (block.thread() != 0) return;
        const vector_output<Source, Target>& output = outputs[at.output];
        const int first = at.strip - first_strip[at.output];
        const int last = (end < first_strip[at.output + 1] ? end : first_strip[at.output + 1]) - first_strip[at.output];
        for (int p = 0; p < output.part_count; ++p) {
            const bit_view& bits = output.parts[p].bits;
            const index end_group = 2 * last < bits.row_groups() ? 2 * last : bits.row_groups();
            if (bits.col_groups() > 0)
                prefetch_words(block, bits.tile(2 * first, 0), bits.tile(end_group, 0) - bits.tile(2 * first, 0));
        }
    }

    template <class Block>
    SUBBIT_KERNEL void load(Block& block, const piece& at, pending& next) const {
        const vector_part<Source>& part = outputs[at.output].parts[at.part];
        const bit_view& bits = part.bits;
        const int strip = at.strip - first_strip[at.output], row_group = 2 * strip + block.lane() / 16;
        const int row = strip * static_cast<int>(strip_rows) + block.lane();
        const bool there = row_group < bits.row_groups();
        const auto* const words =
            reinterpret_cast<const sign_words*>(bits.tile(there ? row_group : 0, 0)) + block.lane() / 4 % 4;
        const warp_columns of = columns(block, at);
        SUBBIT_UNROLL
        for (int h = 0; h < Halves; ++h) {
            next.signs[h] = sign_words{};
            const int group = of.begin(h) / 32 + block.lane() % 4;
            if (there && group < bits.col_groups()) next.signs[h] = load_once(block, words + 4 * group);
        }
        next.post = part.post != nullptr && row < bits.rows() ? part.post[row] : 1.0f;
    }

    template <class Block>
    SUBBIT_KERNEL auto factors_of(Block& block, const piece& at) const {
        return outputs[at.output].parts[at.part].source.template load_factors<Halves>(columns(block, at));
    }

    /// Leaves every warp's sums of a strip in shared memory, and has the next strip's signs on their way.
    template <class Block>
    SUBBIT_KERNEL void multiply_strip(Block& block, piece& at, int end, pending& next, held& planes, float* sums,
                                      float* magnitudes) const {
        const int strip = at.strip;
        float mine[Vectors] = {}, magnitude[Vectors] = {};
        do {
            const vector_output<Source, Target>& output = outputs[at.output];
            if (planes.output != at.output) {
                const Source& source = output.parts[at.part].source;
                SUBBIT_UNROLL
                for (int v = 0; v < Vectors; ++v)
                    if (v < vectors)
                        planes.of[v] =
                            source.template load<Halves>(block, first_vector + v, planes.factors, columns(block, at));
                const bool alone = output.part_count == 1 && output.parts[0].bits.cols() <= chunk(block.warps());
                planes.output = alone ? at.output : -1;
            }
            SUBBIT_UNROLL
            for (int v = 0; v < Vectors; ++v) {
                if (v >= vectors) break;
                mine[v] += next.post * product(block, next.signs, planes.of[v]);
                magnitude[v] += planes.of[v].magnitude;
            }
            advance(block, at);
            if (at.strip >= end) break;
            load(block, at, next);
            if (planes.output != at.output) planes.factors = factors_of(block, at);
        } while (at.strip == strip);
        SUBBIT_UNROLL
        for (int v = 0; v < Vectors; ++v) {
            sums[v * block.threads() + block.thread()] = mine[v];
            if (block.lane() == 0) magnitudes[v * most_warps + block.warp()] = magnitude[v];
        }
    }

    /// A warp's sum for row lane() of a strip.
    template <class Block>
    SUBBIT_KERNEL static float product(Block& block, const sign_words (&signs)[Halves],
                                       const warp_planes<tiles, Halves>& planes) {
        std::int32_t counts[2][tiles][4] = {};
        SUBBIT_UNROLL
        for (int h = 0; h < Halves; h += 2) {
            // Row 4g + 2 pair + i of the strip is row g + 8i of the tensor core's product.
            const bool both = h + 1 < Halves;
            const sign_words &low = signs[h], &high = signs[both ? h + 1 : h];
            SUBBIT_UNROLL
            for (int pair = 0; pair < 2; ++pair)
                SUBBIT_UNROLL
            for (int t = 0; t < tiles; ++t)
                count_common(block, counts[pair][t],
                             {{low.row[2 * pair], low.row[2 * pair + 1], high.row[2 * pair], high.row[2 * pair + 1]}},
                             {{planes.half[h].tile[t], both ? planes.half[h + 1].tile[t] : 0}});
        }
        return static_cast<float>(2 * row_sum(block, counts) - planes.sum) * planes.to_real;
    }

    /// The warp's sum_p w_p c_p of row lane(). A lane has two planes of each tile for four rows; the four lanes of
    /// these rows exchange what they have, until each has one row.
    template <class Block>
    SUBBIT_KERNEL static std::int64_t row_sum(Block& block, const std::int32_t (&counts)[2][tiles][4]) {
        const int q = block.lane() % 4;
        weighted_count of_row[4];
        SUBBIT_UNROLL
        for (int row = 0; row < 4; ++row) {
            std::int32_t even[tiles], odd[tiles];
            SUBBIT_UNROLL
            for (int t = 0; t < tiles; ++t) {
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

    /// Row lane() of the strip times vector v, from all warps' sums.
    template <class Block>
    SUBBIT_KERNEL static float total(const Block& block, const float* sums, int v) {
        const float* const of_row = sums + v * block.threads() + block.lane();
        float sum = 0;
        SUBBIT_UNROLL
        for (int w = 0; w < most_warps; ++w)  // all loads under way at once
            sum += w < block.warps() ? of_row[w * warp_size] : 0.0f;
        return sum;
    }

    /// What a warp's first output is added to comes while the block multiplies.
    template <class Block, class Out>
    SUBBIT_KERNEL float old_output(const Block& block, const matrix_target<Out>& target, int row) const {
        const bool needed = target.beta != 0.0f && row < target.rows() && block.warp() < vectors;
        return needed ? static_cast<float>(target.Y(first_vector + block.warp(), row)) : 0.0f;
    }
    template <class Block>
    SUBBIT_KERNEL float old_output(const Block&, const plane_target&, int) const {
        return 0;
    }

    /// A warp finishes a vector.
    template <class Block, class Out>
    SUBBIT_KERNEL void finish(Block& block, const matrix_target<Out>& target, int row, float old, const float* sums,
                              const float*) const {
        for (int v = block.warp(); v < vectors; v += block.warps()) {
            float y = total(block, sums, v);
            if (row >= target.rows()) continue;
            Out& out = target.Y(first_vector + v, row);
            if (target.bias != nullptr) y += target.bias[row];
            y = rounded_product(target.alpha, y);
            if (target.beta != 0.0f) y += target.beta * (v == block.warp() ? old : static_cast<float>(out));
            out = static_cast<Out>(y);
        }
    }

    /// A warp finishes a share of the planes of a vector.
    template <class Block>
    SUBBIT_KERNEL void finish(Block& block, const plane_target& target, int row, float, const float* sums,
                              const float* magnitudes) const {
        constexpr int shares = 8, planes = 32 / shares;
        const bool there = row < target.rows();
        const float factor = there && target.scale != nullptr ? target.scale[row] : 1.0f;
        const float largest_factor = largest(block, target.scale, target.rows());
        for (int item = block.warp(); item < vectors * shares; item += block.warps()) {
            const int v = item / shares, first = item % shares * planes;
            float bound = 0;
            for (int w = 0; w < block.warps(); ++w)
                bound += magnitudes[v * most_warps + w];
            const fixed_scale<float> to = scale_of_bound(bound * largest_factor);
            const float y = total(block, sums, v) * factor;
            const int integer = there && to.to_integer != 0.0f ? static_cast<int>(std::rint(y * to.to_integer)) : 0;
            std::uint32_t word = 0;
            SUBBIT_UNROLL
            for (int p = 0; p < planes; ++p) {
                const std::uint32_t plane = block.ballot((integer >> (first + p) & 1) != 0);
                if (block.lane() == p) word = plane;
            }
            const int vector = first_vector + v, group = row / warp_size;
            if (block.lane() < planes)
                target.planes.words_of(vector)[group * 32 + plane_view::place(first + block.lane())] = word;
            if (row == 0 && first == 0) target.planes.to_real[vector] = to.to_real;
        }
    }

    template <class Block>
    SUBBIT_KERNEL static float largest(Block& block, const float* scale, int size) {
        if (scale == nullptr) return 1;
        float found = 0;
        for (int i = block.lane(); i < size; i += warp_size)
            found = maximum{}(found, std::abs(scale[i]));
        return block.warp_reduce(found, maximum{});
    }
};

}  // namespace subbit::gpu
