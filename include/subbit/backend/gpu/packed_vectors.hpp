// Packed products with few vectors, 16 at most: the signs are read once, and binary tensor cores take them as they are.
//
// A block has a strip of 32 rows; its warps share out the columns in units of 256, make bit planes of their own part of
// a vector (bit_planes.hpp), with a scale of their own, and add their sums up in shared memory, in the order of the
// warps. So nothing is waited for between the vector's numbers and the product but the warp's own largest number. Signs
// and scales are on their way to the registers before the kernel before this one is done.
//
// What takes the time with one vector is not the bytes but the way of one warp from its numbers to its sums, some 330
// instructions for a unit: 150 make planes, 12 are matrix products. So a unit is little, and a block has many warps.
#pragma once

#include <subbit/backend/gpu/bit_planes.hpp>
#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/packed_product.hpp>
#include <subbit/backend/gpu/rounding.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

/// More vectors go through tiles (packed_tiles.hpp).
inline constexpr index most_vectors = 16;

/// The product of a strip of 32 rows with some vectors, by all warps of a block. Each has `Depth` units of 256 columns
/// on their way at a time.
template <int Depth>
class strip_product {
  public:
    static constexpr int unit = 256, halves = 2 * Depth, most_warps = 16;

    /// Bytes of the shared memory that a block needs.
    static constexpr std::size_t shared_bytes(index vectors, int threads) {
        return static_cast<std::size_t>(vectors * threads) * sizeof(float);
    }

    template <class Block>
    SUBBIT_KERNEL strip_product(Block& block, int vectors)
        : vectors_(vectors), sums_(block.template shared<float>(index{vectors} * block.threads())) {}

    /// Asks for the first signs and scales of a part; needs nothing of the kernel before.
    template <class Block, class Source>
    SUBBIT_KERNEL void begin(Block& block, const bit_view& bits, const Source& source, int strip) {
        const int row_group = 2 * strip + block.lane() / 16;
        columns_ = static_cast<int>(bits.cols());
        signs_of_lane_ = row_group < bits.row_groups()
                             ? reinterpret_cast<const sign_words*>(bits.tile(row_group, 0)) + block.lane() / 4 % 4
                             : nullptr;
        load(block, source, 0);
    }

    /// Leaves every warp's sums of all vectors in shared memory.
    template <class Block, class Source>
    SUBBIT_KERNEL void multiply(Block& block, const Source& source) {
        const int chunk = Depth * unit * block.warps();
        for (int first = 0; first == 0 || first < columns_; first += chunk) {
            if (first > 0) load(block, source, first);
            for (int t = 0; t < vectors_; ++t) {
                const float sum = multiply_chunk(block, source, t, first);
                float& mine = sums_[t * block.threads() + block.thread()];
                mine = first == 0 ? sum : mine + sum;
            }
        }
    }

    /// Row lane() of the strip times vector t, once all warps have multiplied.
    template <class Block>
    SUBBIT_KERNEL float sum(const Block& block, int t) const {
        const float* const of_row = sums_ + t * block.threads() + block.lane();
        float total = 0;
        SUBBIT_UNROLL
        for (int w = 0; w < most_warps; ++w)  // all loads under way at once
            total += w < block.warps() ? of_row[w * warp_size] : 0.0f;
        return total;
    }

  private:
    /// The first of the four columns that a lane has in half a unit.
    template <class Block>
    SUBBIT_KERNEL static int column(const Block& block, int first, int half) {
        return first + (half / 2 * block.warps() + block.warp()) * unit + half % 2 * 128 + block.lane() % 4 * 32 +
               block.lane() / 4 * 4;
    }

    template <class Block, class Source>
    SUBBIT_KERNEL void load(Block& block, const Source& source, int first) {
        SUBBIT_UNROLL
        for (int h = 0; h < halves; ++h) {
            const int j = column(block, first, h);
            signs_[h] = sign_words{};
            if (signs_of_lane_ != nullptr && j / 32 * 32 < columns_)
                signs_[h] = load_once(block, signs_of_lane_ + 4 * (j / 32));
        }
        source.read_factors(factors_, [&](int h) { return column(block, first, h); });
    }

    template <class Block, class Source>
    SUBBIT_KERNEL float multiply_chunk(Block& block, const Source& source, int t, int first) {
        four<float> x[halves];
        source.read(t, x, [&](int h) { return column(block, first, h); });
        std::uint32_t largest = 0;
        SUBBIT_UNROLL
        for (int e = 0; e < halves * 4; ++e) {
            float& v = x[e / 4].at[e % 4];
            v *= factors_[e / 4].at[e % 4];
            largest = maximum{}(largest, magnitude_pattern(v));
        }
        const fixed_scale<float> scale = plane_scale(block.warp_reduce(largest, maximum{}));
        if (scale.to_integer == 0.0f) return scale.to_real;  // not all numbers are finite
        std::int32_t counts[2][plane_words::tiles][4] = {}, own = 0;
        SUBBIT_UNROLL
        for (int a = 0; a < Depth; ++a) {
            if (first + (a * block.warps() + block.warp()) * unit >= columns_) break;
            plane_words planes[2];
            SUBBIT_UNROLL
            for (int half = 0; half < 2; ++half) {
                std::int32_t integers[4];
                SUBBIT_UNROLL
                for (int e = 0; e < 4; ++e) {
                    integers[e] = static_cast<std::int32_t>(std::rint(x[2 * a + half].at[e] * scale.to_integer));
                    own += integers[e];
                }
                planes[half] = planes_of(block, integers);
            }
            count(block, signs_[2 * a], signs_[2 * a + 1], planes, counts);
        }
        const std::int64_t sum = 2 * row_sum(block, counts) - own_sum(block, own);
        return static_cast<float>(sum) * scale.to_real;
    }

    /// Adds the counts of a unit. Row 4g + 2 pair + i of the strip is row g + 8i of the tensor core's product.
    template <class Block>
    SUBBIT_KERNEL static void count(Block& block, const sign_words& low, const sign_words& high,
                                    const plane_words (&planes)[2], std::int32_t (&counts)[2][plane_words::tiles][4]) {
        SUBBIT_UNROLL
        for (int pair = 0; pair < 2; ++pair) {
            const sign_fragment rows = {
                {low.row[2 * pair], low.row[2 * pair + 1], high.row[2 * pair], high.row[2 * pair + 1]}};
            SUBBIT_UNROLL
            for (int t = 0; t < plane_words::tiles; ++t)
                count_common(block, counts[pair][t], rows, {{planes[0].tile[t], planes[1].tile[t]}});
        }
    }

    /// The warp's sum_p w_p c_p of row lane(). A lane has two planes of each tile for four rows; the four lanes of
    /// these rows exchange what they have, until each has one row.
    template <class Block>
    SUBBIT_KERNEL static std::int64_t row_sum(Block& block, const std::int32_t (&counts)[2][plane_words::tiles][4]) {
        const int q = block.lane() % 4;
        weighted_count of_row[4];
        SUBBIT_UNROLL
        for (int row = 0; row < 4; ++row) {
            std::int32_t even[plane_words::tiles], odd[plane_words::tiles];
            SUBBIT_UNROLL
            for (int t = 0; t < plane_words::tiles; ++t) {
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

    /// The warp's sum of the lanes' sums, each below 2^28, in two halves.
    template <class Block>
    SUBBIT_KERNEL static std::int64_t own_sum(Block& block, std::int32_t own) {
        return std::int64_t{block.warp_sum(own >> 8)} * 256 + block.warp_sum(own & 255);
    }

    int vectors_;
    float* sums_;  // sums_[t * threads + 32 warp + row]
    int columns_ = 0;
    const sign_words* signs_of_lane_ = nullptr;
    sign_words signs_[halves];
    four<float> factors_[halves];
};

/// Vectors that are read from a matrix and scaled: diag(scale) x; an empty scale, null, stands for ones. A lane reads
/// several fours of entries at a time, at(h), at(h) + 1, .. for every h; zeros where there are no more.
template <class In>
struct scaled_vectors {
    const In* x = nullptr;
    index row_stride = 0, col_stride = 1;
    int size = 0;
    bool in_fours = false, scale_in_fours = false;  ///< every four lies together and aligned
    const float* scale = nullptr;

    scaled_vectors() = default;
    scaled_vectors(matrix_view<const In> X, const float* scale_of_entries)
        : x(X.data),
          row_stride(X.row_stride),
          col_stride(X.col_stride),
          size(static_cast<int>(X.cols)),
          in_fours(X.col_stride == 1 && X.cols % 4 == 0 && holds_fours(X.data) &&
                   (X.rows == 1 || X.row_stride % (alignof(four<In>) / sizeof(In)) == 0)),
          scale_in_fours(X.cols % 4 == 0 && holds_fours(scale_of_entries)),
          scale(scale_of_entries) {}

    /// Entries of the scale, which no kernel writes.
    template <int Count, class At>
    SUBBIT_KERNEL void read_factors(four<float> (&to)[Count], At at) const {
        if (scale == nullptr) {
            SUBBIT_UNROLL
            for (int h = 0; h < Count; ++h)
                to[h] = {{1, 1, 1, 1}};
        } else {
            read_entries(scale, 1, scale_in_fours, to, at);
        }
    }
    /// Entries of vector t.
    template <int Count, class At>
    SUBBIT_KERNEL void read(int t, four<float> (&to)[Count], At at) const {
        read_entries(x + t * row_stride, col_stride, in_fours, to, at);
    }

  private:
    template <class T, int Count, class At>
    SUBBIT_KERNEL void read_entries(const T* from, index stride, bool fours, four<float> (&to)[Count], At at) const {
        four<T> loaded[Count];
        SUBBIT_UNROLL
        for (int h = 0; h < Count; ++h)
            loaded[h] = {};
        if (fours) {
            SUBBIT_UNROLL
            for (int h = 0; h < Count; ++h)
                if (at(h) < size) loaded[h] = *reinterpret_cast<const four<T>*>(from + at(h));
        } else {
            SUBBIT_UNROLL
            for (int e = 0; e < Count * 4; ++e)
                if (const int j = at(e / 4) + e % 4; j < size) loaded[e / 4].at[e % 4] = from[j * stride];
        }
        SUBBIT_UNROLL
        for (int e = 0; e < Count * 4; ++e)
            to[e / 4].at[e % 4] = static_cast<float>(loaded[e / 4].at[e % 4]);
    }
};

/// diag(post) B v for vectors v from a Source; an empty scale, null, stands for ones.
template <class Source>
struct vector_part {
    bit_view bits;  ///< B (m,n)
    Source source;
    const float* post = nullptr;  ///< m
};

/// Y = alpha (sum of the parts + bias) + beta Y; beta = 0 does not read Y.
template <class Source, class Out>
struct vector_output {
    vector_part<Source> parts[max_paths];
    int part_count = 1;
    const float* bias = nullptr;  ///< m, or null: zeros
    matrix_view<Out> Y;           ///< (vectors, m)
    float alpha = 1, beta = 0;
};

/// The outputs of one launch; each takes a block for each of its strips.
template <class Source, class Out>
struct packed_vectors_kernel {
    using product = strip_product<2>;
    static constexpr int most_threads = product::most_warps * warp_size;
    static constexpr bool overlaps = true;

    vector_output<Source, Out> outputs[outputs_at_once];
    int first_block[outputs_at_once] = {};
    int count = 0;
    int vectors = 1;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        int o = 0;
        while (o + 1 < count && first_block[o + 1] <= block.index())
            ++o;
        const vector_output<Source, Out>& output = outputs[o];
        const int strip = static_cast<int>(block.index()) - first_block[o];
        const int row = strip * static_cast<int>(strip_rows) + block.lane();
        const bool there = row < output.Y.cols;
        product strips(block, vectors);
        strips.begin(block, output.parts[0].bits, output.parts[0].source, strip);
        const float bias = there && output.bias != nullptr ? output.bias[row] : -0.0f;  // which changes no sum
        wait_for_predecessor(block);
        // What a warp's first vector is added to comes while the block multiplies.
        const bool adds = there && output.beta != 0.0f;
        const float old = adds && block.warp() < vectors ? static_cast<float>(output.Y(block.warp(), row)) : 0.0f;
        for (int p = 0; p < output.part_count; ++p) {
            const vector_part<Source>& part = output.parts[p];
            if (p > 0) {
                block.sync();  // the sums of the last part have been read
                strips.begin(block, part.bits, part.source, strip);
            }
            const float post = there && part.post != nullptr ? part.post[row] : 1.0f;
            strips.multiply(block, part.source);
            block.sync();
            // A warp finishes a vector.
            for (int t = block.warp(); t < vectors; t += block.warps()) {
                const float sum = rounded_product(post, strips.sum(block, t));
                if (!there) continue;
                Out& y = output.Y(t, row);
                float total = rounded_product(output.alpha, p == 0 ? sum + bias : sum);
                if (p > 0)
                    total += static_cast<float>(y);
                else if (adds)
                    total += output.beta * (t == block.warp() ? old : static_cast<float>(y));
                y = static_cast<Out>(total);
            }
        }
    }
};

}  // namespace subbit::gpu
