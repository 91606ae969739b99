// Packed products with few vectors, 16 at most: the signs are read once, and binary tensor cores take them as they are.
//
// A block has a strip of 32 rows; its warps share out the columns in units of 256 and add their sums up in shared
// memory. What a thread needs of the signs is on its way to its registers before the kernel before this one is done.
// The vectors come as bit planes (bit_planes.hpp), which whoever made a vector has made once, and may leave as bit
// planes for the next product.
//
// Instructions of a warp for 32 rows and 256 columns of signs and one vector: 2 loads of signs, 2 of planes, 4 shuffles
// and 24 selections that align the planes, 8 matrix products. An H200 does a matrix product in 6 clocks a scheduler
// (measured), so that the tensor cores take in 680 signs a clock and multiprocessor, and its memory delivers some 150.
#pragma once

#include <subbit/backend/gpu/bit_planes.hpp>
#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/rounding.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// diag(post) B x for vectors x that are bit planes; an empty scale, null, stands for ones.
struct plane_part {
    bit_view bits;                ///< B (m,n)
    plane_view x;                 ///< of n entries
    const float* post = nullptr;  ///< m
};

/// y = alpha (sum of the parts + bias) + beta Y, to Y where it has memory, and diag(next_scale) y as planes to `next`
/// where it has. beta = 0 does not read Y.
template <class Out>
struct plane_output {
    plane_part parts[max_paths];
    int part_count = 1;
    const float* bias = nullptr;  ///< m, or null: zeros
    matrix_view<Out> Y;           ///< (vectors, m)
    float alpha = 1, beta = 0;
    const float* next_scale = nullptr;  ///< m, or null: ones
    plane_view next;                    ///< of m entries

    SUBBIT_KERNEL index rows() const { return parts[0].bits.rows(); }

    /// What becomes of the sum of the parts, row i of vector t.
    SUBBIT_KERNEL float finish(index t, index i, float sum) const {
        float y = rounded_product(alpha, bias != nullptr ? sum + bias[i] : sum);
        if (Y.data == nullptr) return y;
        if (beta != 0.0f) y += beta * static_cast<float>(Y(t, i));
        Y(t, i) = static_cast<Out>(y);
        return y;
    }
};

/// The outputs of one launch; each takes a block for each of its strips.
template <class Out>
struct plane_job {
    plane_output<Out> outputs[outputs_at_once];
    index first_block[outputs_at_once] = {};
    int count = 0;
    int vectors = 1;

    SUBBIT_KERNEL int output_of(index block) const {
        int o = 0;
        while (o + 1 < count && first_block[o + 1] <= block)
            ++o;
        return o;
    }
};

/// More vectors go through tiles (packed_tiles.hpp).
inline constexpr index most_vectors = 16;

/// The product of a strip of 32 rows with some vectors, by the 8 warps of a block. `Depth` is how many units of 256
/// columns each warp has on their way at a time.
template <int Depth>
class strip_product {
  public:
    static constexpr int threads = 256, warps = threads / warp_size;
    static constexpr int unit = 8;  // groups of 32 columns

    /// Bytes of the shared memory that a block needs for so many vectors.
    static constexpr std::size_t shared_bytes(index vectors) {
        return static_cast<std::size_t>(vectors) * (threads * sizeof(std::int64_t) + 16) + 16;
    }

    /// Asks for the memory.
    template <class Block>
    SUBBIT_KERNEL strip_product(Block& block, int vectors)
        : vectors_(vectors),
          sums_(block.template shared<std::int64_t>(index{vectors} * threads)),
          exponents_(block.template shared<int>(vectors)) {}

    /// Asks for the first signs of a part; needs nothing of the kernel before.
    template <class Block>
    SUBBIT_KERNEL void begin(Block& block, const bit_view& bits, int strip) {
        const int row_group = 2 * strip + block.lane() / 16;
        groups_ = static_cast<int>(bits.col_groups());
        first_ = row_group < bits.row_groups()
                     ? reinterpret_cast<const sign_words*>(bits.tile(row_group, 0)) + block.lane() / 4 % 4
                     : nullptr;
        SUBBIT_UNROLL
        for (int a = 0; a < Depth; ++a)
            load_signs(block, a, unit_of(block, 0, a));
    }

    /// Leaves the sums of all warps in shared memory.
    template <class Block>
    SUBBIT_KERNEL void multiply(Block& block, const plane_view& x) {
        for (int chunk = 0; chunk == 0 || chunk * unit < groups_; chunk += Depth * warps) {
            for (int t = 0; t < vectors_; ++t)
                multiply_chunk(block, x, t, chunk);
            SUBBIT_UNROLL
            for (int a = 0; a < Depth; ++a)
                load_signs(block, a, unit_of(block, chunk + Depth * warps, a));
        }
    }

    /// Row lane() of the strip times vector t, once all warps have multiplied.
    template <class Block>
    SUBBIT_KERNEL float sum(const Block& block, int t) const {
        std::int64_t total = 0;
        SUBBIT_UNROLL
        for (int w = 0; w < warps; ++w)
            total += sums_[t * threads + w * warp_size + block.lane()];
        return static_cast<float>(total) * plane_unit(exponents_[t]);
    }

  private:
    /// The a-th unit that a warp has in a chunk.
    template <class Block>
    SUBBIT_KERNEL static int unit_of(const Block& block, int chunk, int a) {
        return chunk + a * warps + block.warp();
    }

    template <class Block>
    SUBBIT_KERNEL void load_signs(Block& block, int a, int u) {
        SUBBIT_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int group = u * unit + 4 * half + block.lane() % 4;
            signs_[a][half] = sign_words{};
            if (first_ != nullptr && group < groups_) signs_[a][half] = load_once(block, first_ + 4 * group);
        }
    }

    /// Adds what a chunk of columns gives for vector t to this thread's sum.
    template <class Block>
    SUBBIT_KERNEL void multiply_chunk(Block& block, const plane_view& x, int t, int chunk) {
        // A lane's words of a group, and the sums of one of the warp's groups: 8 for each of up to 4 units.
        static_assert(Depth <= 4);
        const auto* const words = reinterpret_cast<const plane_words*>(x.words_of(t)) + block.lane() / 4;
        plane_words planes[Depth][2];
        SUBBIT_UNROLL
        for (int a = 0; a < Depth; ++a)
            SUBBIT_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int group = unit_of(block, chunk, a) * unit + 4 * half + block.lane() % 4;
            planes[a][half] = group < groups_ ? words[group * 8] : plane_words{};
        }
        const int a_of_lane = block.lane() / unit;
        const int group = unit_of(block, chunk, a_of_lane) * unit + block.lane() % unit;
        const bool has_sums = a_of_lane < Depth && group < groups_;
        const plane_sums sums = has_sums ? x.sums_of(t)[group] : plane_sums{};
        const int exponent = has_sums ? x.exponents_of(t)[group] : 0;
        const int largest = largest_exponent(block, x, t);

        std::int32_t counts[2][4][4] = {};
        SUBBIT_UNROLL
        for (int a = 0; a < Depth; ++a)
            if (unit_of(block, chunk, a) * unit < groups_) count(block, signs_[a], planes[a], largest, counts);
        const std::int64_t sum = row_sum(block, counts) - warp_sum(block, sums.aligned(largest - exponent));
        std::int64_t& mine = sums_[t * threads + block.thread()];
        mine = chunk == 0 ? sum : mine + sum;
        if (block.thread() == 0) exponents_[t] = largest;
    }

    /// The sum of the lanes' numbers, each below 2^40: in two halves, for which there is an instruction.
    template <class Block>
    SUBBIT_KERNEL static std::int64_t warp_sum(Block& block, std::int64_t x) {
        const auto high = static_cast<std::int32_t>(x >> 16), low = static_cast<std::int32_t>(x & 0xffff);
        return (std::int64_t{block.warp_sum(high)} << 16) + block.warp_sum(low);
    }

    /// Adds the counts of one unit. Row 4g + 2 pair + i of the strip is row g + 8 i of the tensor core's product.
    template <class Block>
    SUBBIT_KERNEL static void count(Block& block, const sign_words (&signs)[2], const plane_words (&planes)[2],
                                    int largest, std::int32_t (&counts)[2][4][4]) {
        const plane_words low = aligned_planes(block, planes[0], largest),
                          high = aligned_planes(block, planes[1], largest);
        SUBBIT_UNROLL
        for (int pair = 0; pair < 2; ++pair) {
            const sign_fragment rows = {{signs[0].row[2 * pair], signs[0].row[2 * pair + 1], signs[1].row[2 * pair],
                                         signs[1].row[2 * pair + 1]}};
            SUBBIT_UNROLL
            for (int t = 0; t < 4; ++t)
                count_common(block, counts[pair][t], rows, {{low.tile[t], high.tile[t]}});
        }
    }

    /// The warp's sum of row lane(). A lane has two columns of each tile for four rows; the four lanes of these rows
    /// exchange what they have, until each has one row.
    template <class Block>
    SUBBIT_KERNEL static std::int64_t row_sum(Block& block, const std::int32_t (&counts)[2][4][4]) {
        const int q = block.lane() % 4;
        std::int64_t of_row[4];
        SUBBIT_UNROLL
        for (int row = 0; row < 4; ++row) {
            std::int32_t even[4], odd[4];
            SUBBIT_UNROLL
            for (int t = 0; t < 4; ++t) {
                even[t] = counts[row / 2][t][row % 2 * 2];
                odd[t] = counts[row / 2][t][row % 2 * 2 + 1];
            }
            of_row[row] = weighted_counts(even, odd, q);
        }
        std::int64_t two[2];
        SUBBIT_UNROLL
        for (int row = 0; row < 2; ++row) {
            const bool upper = q / 2 == 1;
            const std::int64_t kept = upper ? of_row[row + 2] : of_row[row];
            two[row] = kept + block.shuffle_xor(upper ? of_row[row] : of_row[row + 2], 2);
        }
        const bool second = q % 2 == 1;
        return (second ? two[1] : two[0]) + block.shuffle_xor(second ? two[0] : two[1], 1);
    }

    int vectors_;
    std::int64_t* sums_;  // sums_[t * threads + 32 warp + row]
    int* exponents_;      // of the vectors
    int groups_ = 0;
    const sign_words* first_ = nullptr;
    sign_words signs_[Depth][2];
};

template <class Out>
struct packed_vectors_kernel {
    using product = strip_product<4>;
    static constexpr int most_threads = product::threads, least_blocks = 2;
    static constexpr bool overlaps = true;

    plane_job<Out> job;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        constexpr int at_once = product::warps;  // vectors that the warps finish side by side
        const int o = job.output_of(block.index());
        const plane_output<Out>& output = job.outputs[o];
        const int strip = static_cast<int>(block.index() - job.first_block[o]);
        const int row = strip * static_cast<int>(strip_rows) + block.lane();
        const bool there = row < output.rows();
        product strips(block, job.vectors);
        strips.begin(block, output.parts[0].bits, strip);
        wait_for_predecessor(block);
        float y[most_vectors / at_once] = {};
        for (int p = 0; p < output.part_count; ++p) {
            const plane_part& part = output.parts[p];
            if (p > 0) {
                block.sync();  // the sums have been read
                strips.begin(block, part.bits, strip);
            }
            strips.multiply(block, part.x);
            block.sync();
            const float post = there && part.post != nullptr ? part.post[row] : 1.0f;
            SUBBIT_UNROLL
            for (int s = 0; s < static_cast<int>(most_vectors) / at_once; ++s)
                if (const int t = s * at_once + block.warp(); t < job.vectors)
                    y[s] += rounded_product(post, strips.sum(block, t));
        }
        SUBBIT_UNROLL
        for (int s = 0; s < static_cast<int>(most_vectors) / at_once; ++s) {
            const int t = s * at_once + block.warp();
            if (t >= job.vectors) continue;
            float out = there ? output.finish(t, row, y[s]) : 0.0f;
            if (output.next.words == nullptr) continue;
            if (there && output.next_scale != nullptr) out *= output.next_scale[row];
            write_planes(block, out, output.next, t, strip);
        }
    }
};

}  // namespace subbit::gpu
