// Where the kernels of few vectors have their vectors from: a matrix of numbers, or planes that a product has left.
//
// A source gives a warp the planes of its part of a vector, `Halves` times 128 columns: at.begin(h) is where the h-th
// of them begins, at(h) the first of a lane's four columns there, at.begin(h) + 32q + 4g for lane 4g + q. What no
// kernel writes is loaded first, by load_factors; load then makes planes of it and the vector.
//
// A source may have a factor(total) of its vector, which the outputs are multiplied by: `total` is the sum of the
// shares that all warps of a block leave in warp_planes. So a vector can be divided by its norm, which a warp does not
// know before the product. A source whose numbers take long to make says `static constexpr int usual_halves = 1`: more
// warps have fewer columns each. plane_vectors.hpp alone knows of factors and usual_halves.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/kernels/fours.hpp>
#include <subbit/backend/gpu/packed/bit_planes.hpp>
#include <subbit/core/matrix.hpp>

#include <cmath>
#include <cstdint>

namespace subbit::gpu {

/// The columns of a warp: `Halves` times 128 of those from `first` on, taken in turns by the warps of a block.
struct warp_columns {
    static constexpr int half = 128;
    int first, warp, warps, lane;

    template <class Block>
    SUBBIT_KERNEL warp_columns(const Block& block, int first_column)
        : first(first_column), warp(block.warp()), warps(block.warps()), lane(block.lane()) {}

    /// The first column of the h-th half, the same for all lanes.
    SUBBIT_KERNEL int begin(int h) const { return first + (h * warps + warp) * half; }
    /// The first of the four columns of it that the lane has.
    SUBBIT_KERNEL int operator()(int h) const { return begin(h) + lane % 4 * 32 + lane / 4 * 4; }
};

/// A warp's part of a vector as planes; column j counts i_j to_real.
template <int Tiles, int Halves>
struct warp_planes {
    plane_words<Tiles> half[Halves];
    float to_real;
    std::int64_t sum;  ///< of the integers
    float magnitude;   ///< sum of |v_j| of the lane's own numbers
    float share;       ///< of what the source's factor is made of, where it has one
};

/// Whether what is multiplied is known but for a factor of the whole vector.
template <class Source>
inline constexpr bool has_factor = requires(const Source& source) {
    source.factor(0.0f);
};

/// How many times 128 columns a warp should have: those that a tensor core counts at once, unless the source says so.
template <class Source>
inline constexpr int usual_halves = [] {
    if constexpr (requires { Source::usual_halves; })
        return Source::usual_halves;
    else
        return 2;
}();

/// Entries at(h) .. at(h) + 3 for each h, as floats; zeros where there are no more than `size`. All loads are under way
/// together, in fours where every four lies together and is aligned.
template <class T, int Count, class At>
SUBBIT_KERNEL void read_entries(const T* from, index stride, int size, bool in_fours, four<float> (&to)[Count], At at) {
    four<T> loaded[Count];
    SUBBIT_UNROLL
    for (int h = 0; h < Count; ++h)
        loaded[h] = {};
    if (in_fours) {
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

/// `size` numbers that lie together; none, null, stand for ones.
struct float_entries {
    const float* first = nullptr;
    int size = 0;
    bool in_fours = false;

    float_entries() = default;
    float_entries(const float* entries, index n)
        : first(entries), size(static_cast<int>(n)), in_fours(n % 4 == 0 && holds_fours(entries)) {}

    template <int Count, class At>
    SUBBIT_KERNEL void read(four<float> (&to)[Count], At at) const {
        if (first != nullptr) return read_entries(first, 1, size, in_fours, to, at);
        SUBBIT_UNROLL
        for (int h = 0; h < Count; ++h)
            to[h] = {{1, 1, 1, 1}};
    }
};

/// The planes of the numbers v that a warp's lanes have at columns at(h) .. at(h) + 3 of `size`.
template <int Halves, class Block, class At>
SUBBIT_KERNEL warp_planes<read_tiles, Halves> planes_of_numbers(Block& block, const four<float> (&v)[Halves], int size,
                                                                At at) {
    std::uint32_t largest = 0;
    float magnitude = 0;
    SUBBIT_UNROLL
    for (int e = 0; e < Halves * 4; ++e) {
        largest = maximum{}(largest, magnitude_pattern(v[e / 4].at[e % 4]));
        magnitude += std::abs(v[e / 4].at[e % 4]);
    }
    const fixed_scale<float> to = scale_of_largest(block.warp_reduce(largest, maximum{}));
    warp_planes<read_tiles, Halves> planes = {};
    planes.to_real = to.to_real;
    planes.magnitude = magnitude;
    if (to.to_integer == 0.0f) return planes;  // not all numbers are finite
    std::int32_t sum = 0;
    SUBBIT_UNROLL
    for (int h = 0; h < Halves; ++h) {
        if (at.begin(h) >= size) break;
        std::int32_t integers[4];
        SUBBIT_UNROLL
        for (int e = 0; e < 4; ++e) {
            integers[e] = static_cast<std::int32_t>(std::rint(v[h].at[e] * to.to_integer));
            sum += integers[e];
        }
        planes.half[h] = planes_of(block, integers);
    }
    // In two halves: the lanes' sums are below 2^28.
    planes.sum = std::int64_t{block.warp_sum(sum >> 8)} * 256 + block.warp_sum(sum & 255);
    return planes;
}

/// The part of a source that a scale of the vector's entries is: what no kernel writes.
struct entry_scale {
    float_entries scale;

    template <int Halves>
    struct factors {
        four<float> of[Halves];
    };
    template <int Halves, class At>
    SUBBIT_KERNEL factors<Halves> load_factors(At at) const {
        factors<Halves> f;
        scale.read(f.of, at);
        return f;
    }
};

/// Vectors that are read from a matrix and scaled: diag(scale) x; an empty scale, null, stands for ones.
template <class In>
struct scaled_vectors : entry_scale {
    static constexpr int tiles = read_tiles;

    const In* x = nullptr;
    index row_stride = 0, col_stride = 1;
    bool in_fours = false;

    scaled_vectors() = default;
    scaled_vectors(matrix_view<const In> X, const float* scale_of_entries)
        : entry_scale{{scale_of_entries, X.cols}},
          x(X.data),
          row_stride(X.row_stride),
          col_stride(X.col_stride),
          in_fours(X.col_stride == 1 && X.cols % 4 == 0 && holds_fours(X.data) &&
                   (X.rows == 1 || X.row_stride % static_cast<index>(alignof(four<In>) / sizeof(In)) == 0)) {}

    template <int Halves, class Block, class At>
    SUBBIT_KERNEL warp_planes<tiles, Halves> load(Block& block, int t, const factors<Halves>& f, At at) const {
        four<float> v[Halves];
        read_entries(x + t * row_stride, col_stride, scale.size, in_fours, v, at);
        SUBBIT_UNROLL
        for (int e = 0; e < Halves * 4; ++e)
            v[e / 4].at[e % 4] *= f.of[e / 4].at[e % 4];
        return planes_of_numbers(block, v, scale.size, at);
    }
};

/// Vectors that are planes already.
struct stored_planes {
    static constexpr int tiles = output_tiles;

    plane_view x;

    template <int Halves>
    struct factors {};
    template <int Halves, class At>
    SUBBIT_KERNEL factors<Halves> load_factors(At) const {
        return {};
    }

    template <int Halves, class Block, class At>
    SUBBIT_KERNEL warp_planes<tiles, Halves> load(Block& block, int t, const factors<Halves>&, At at) const {
        static_assert(tiles == 4, "a lane reads its words of a group as one four");
        const auto* const words = reinterpret_cast<const four<std::uint32_t>*>(x.words_of(t)) + block.lane() / 4;
        warp_planes<tiles, Halves> planes = {};
        if (x.size > 0) planes.to_real = x.to_real[t];  // nothing has left a scale of no numbers
        SUBBIT_UNROLL
        for (int h = 0; h < Halves; ++h)
            if (const int group = at.begin(h) / 32 + block.lane() % 4; group * 32 < x.size) {
                const four<std::uint32_t> loaded = words[group * 8];
                SUBBIT_UNROLL
                for (int tile = 0; tile < tiles; ++tile)
                    planes.half[h].tile[tile] = loaded.at[tile];
            }
        // The integers' sum is what a row of ones counts.
        std::int32_t counts[tiles][4] = {};
        SUBBIT_UNROLL
        for (int h = 0; h < Halves; h += 2)
            SUBBIT_UNROLL
        for (int tile = 0; tile < tiles; ++tile)
            count_common(block, counts[tile], {{~0u, ~0u, ~0u, ~0u}},
                         {{planes.half[h].tile[tile], h + 1 < Halves ? planes.half[h + 1].tile[tile] : 0}});
        std::int32_t even[tiles], odd[tiles];
        SUBBIT_UNROLL
        for (int tile = 0; tile < tiles; ++tile) {
            even[tile] = counts[tile][0];
            odd[tile] = counts[tile][1];
        }
        const weighted_count w = weighted(even, odd, block.lane() % 4);
        std::int64_t sum = (std::int64_t{w.high} << 16) + w.low;
        sum += block.shuffle_xor(sum, 1);
        planes.sum = sum + block.shuffle_xor(sum, 2);
        return planes;
    }
};

}  // namespace subbit::gpu
