// Vectors as bit planes: what lets binary tensor cores multiply signs with real numbers, the signs as they lie in
// memory.
//
// 32 neighbouring entries of a vector, a group, become integers of 31 bits in two's complement, v_j ~ i_j 2^(8k - 156),
// with one exponent k a group, and the integers become planes: word p has bit p of all 32. A tensor core counts the
// bits that a row a of signs (1 for +1) and a plane have in common; with c_p that count and w_p = 1, 2, ..., 2^29,
// -2^30,
//
//     sum_j s_j i_j = 2 sum_p w_p c_p - sum_j i_j.
//
// These sums are exact, the same in any order, and hence the same for any number of vectors at once. What is lost is
// lost in the integers: at most 2^-22 of a vector's largest entry where groups differ in their exponents, and half of
// that where they do not: what a sum in float loses anyhow. An infinity or a NaN in a vector makes every output NaN.
//
// Exponents count in units of 8 bits, so that groups are brought to the largest exponent of their vector by moving
// tiles of 8 planes, which are what a tensor core's product has: the planes that fall out are those that are too small.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/fixed_point.hpp>
#include <subbit/backend/gpu/instructions.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace subbit::gpu {

/// How the planes of a group lie: 32 words. Column c > 0 is the plane of weight 2^(c-1), column 0 is the group's
/// exponent. Lane 4g + q of a warp multiplies the columns g, 8 + g, 16 + g, 24 + g of a group, and reads these four
/// words at once.
struct plane_layout {
    static constexpr index group = 32;  // entries, and words

    static constexpr index groups(index n) { return (n + group - 1) / group; }
    /// Bytes of the exponents of n entries: whole words, the last of which ends with zeros.
    static constexpr index exponents(index n) { return (groups(n) + 3) / 4 * 4; }
    static constexpr int word(int column) { return column % 8 * 4 + column / 8; }
};

/// The sum of a group's integers for every alignment: of their lowest bytes, and of what shifts by 8, 16 and 24 bits
/// leave; how many are negative is what a shift by 32 leaves.
struct alignas(16) plane_sums {
    std::int32_t low_and_signs;  ///< the lowest bytes' sum, below 2^13, and 2^13 times the number of signs
    std::int32_t shifted[3];

    SUBBIT_KERNEL std::int64_t aligned(int up) const {
        if (up == 0) return std::int64_t{shifted[0]} * 256 + (low_and_signs & 0x1fff);
        if (up == 1) return shifted[0];
        if (up == 2) return shifted[1];
        return up == 3 ? shifted[2] : -(low_and_signs >> 13);
    }
};

/// The planes of some vectors of the same length in a device's memory, one vector after the other.
struct plane_view {
    std::uint32_t* words = nullptr;     ///< plane_layout::group a group
    plane_sums* sums = nullptr;         ///< one a group
    std::uint8_t* exponents = nullptr;  ///< one a group
    int size = 0;                       ///< entries of a vector

    SUBBIT_KERNEL int groups() const { return static_cast<int>(plane_layout::groups(size)); }
    SUBBIT_KERNEL std::uint32_t* words_of(int vector) const {
        return words + index{vector} * groups() * plane_layout::group;
    }
    SUBBIT_KERNEL plane_sums* sums_of(int vector) const { return sums + index{vector} * groups(); }
    SUBBIT_KERNEL std::uint8_t* exponents_of(int vector) const {
        return exponents + vector * plane_layout::exponents(size);
    }
};

/// The exponent of a group whose numbers are not all finite.
inline constexpr int special_exponent = 255;

/// The exponent k of a group whose largest magnitude has this pattern: every entry is below 2^(8k - 126).
SUBBIT_KERNEL constexpr int plane_exponent(std::uint32_t largest) {
    using F = fixed_point<float>;
    constexpr int special = 2 * F::exponent_bias + 1, least = 4;  // 2^(156 - 8 least) is a float
    const int field = static_cast<int>(largest >> F::fraction_bits);
    if (field == special) return special_exponent;
    return field + 7 < 8 * least ? least : (field + 7) / 8;
}

SUBBIT_KERNEL inline float power_of_two(int e) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(e + fixed_point<float>::exponent_bias)
                                << fixed_point<float>::fraction_bits);
}

/// What a unit of the integers stands for in a vector with this largest exponent.
SUBBIT_KERNEL inline float plane_unit(int exponent) {
    return exponent == special_exponent ? std::numeric_limits<float>::quiet_NaN() : power_of_two(8 * exponent - 156);
}

/// Writes a group of a vector: 32 numbers, one a lane; zero where there are no more entries.
template <class Block>
SUBBIT_KERNEL void write_planes(Block& block, float v, const plane_view& out, int vector, int group) {
    const int exponent = plane_exponent(block.warp_reduce(magnitude_pattern(v), maximum{}));
    const int integer =
        exponent == special_exponent ? 0 : static_cast<int>(std::rint(v * power_of_two(156 - 8 * exponent)));
    std::uint32_t word = static_cast<std::uint32_t>(exponent);
    SUBBIT_UNROLL
    for (int column = 1; column < 32; ++column) {
        const std::uint32_t plane = block.ballot((integer >> (column - 1) & 1) != 0);
        if (block.lane() == plane_layout::word(column)) word = plane;
    }
    out.words_of(vector)[group * static_cast<int>(plane_layout::group) + block.lane()] = word;
    plane_sums sums;
    sums.low_and_signs = block.warp_sum((integer & 255) + (integer < 0 ? 1 << 13 : 0));
    SUBBIT_UNROLL
    for (int up = 1; up < 4; ++up)
        sums.shifted[up - 1] = block.warp_sum(integer >> 8 * up);
    if (block.lane() == 0) out.sums_of(vector)[group] = sums;
    // The last group fills the last word of the exponents.
    const index end = group + 1 == out.groups() ? plane_layout::exponents(out.size) : group + 1;
    if (const int at = group + block.lane(); at < end)
        out.exponents_of(vector)[at] = static_cast<std::uint8_t>(block.lane() == 0 ? exponent : 0);
}

/// The largest exponent of a vector, to all lanes of a warp.
template <class Block>
SUBBIT_KERNEL int largest_exponent(Block& block, const plane_view& x, int vector) {
    const auto* const words = reinterpret_cast<const std::uint32_t*>(x.exponents_of(vector));
    const int count = static_cast<int>(plane_layout::exponents(x.size) / 4);
    std::uint32_t largest = 0;
    for (int i = block.lane(); i < count; i += warp_size) {
        const std::uint32_t four = words[i];
        SUBBIT_UNROLL
        for (int byte = 0; byte < 4; ++byte)
            largest = maximum{}(largest, four >> 8 * byte & 255u);
    }
    return static_cast<int>(block.warp_reduce(largest, maximum{}));
}

/// A lane's words of a group, one of each tile of 8 columns.
struct alignas(16) plane_words {
    std::uint32_t tile[4];
};

/// The words of a group, brought to the vector's largest exponent: planes that are too small are gone, and those above
/// the highest repeat it, the sign. Lanes with the same q = lane % 4 have the same group. Column 0 is of no use.
template <class Block>
SUBBIT_KERNEL plane_words aligned_planes(Block& block, plane_words x, int largest) {
    const int q = block.lane() % 4;
    const int up = largest - static_cast<int>(block.shuffle(x.tile[0], q));
    const std::uint32_t sign = block.shuffle(x.tile[3], 28 + q);
    if ((up & 1) != 0) x = {{x.tile[1], x.tile[2], x.tile[3], sign}};
    if ((up & 2) != 0) x = {{x.tile[2], x.tile[3], sign, sign}};
    if (up > 3) x = {{sign, sign, sign, sign}};
    return x;
}

/// 2 sum_p w_p c_p, of the counts of a lane's two columns of each tile, 8t + 2q and the next: the lane's share of it,
/// which the four lanes of a row add up.
SUBBIT_KERNEL inline std::int64_t weighted_counts(const std::int32_t (&even)[4], const std::int32_t (&odd)[4], int q) {
    std::int64_t sum = 0;
    SUBBIT_UNROLL
    for (int t = 3; t > 0; --t)
        sum = (sum + even[t] + 2 * odd[t]) * 256;
    sum += (q == 0 ? 0 : even[0]) + 2 * odd[0];
    sum = static_cast<std::int64_t>(static_cast<std::uint64_t>(sum) << 2 * q);
    return q == 3 ? sum - (std::int64_t{odd[3]} << 32) : sum;  // column 31 is negative
}

/// diag(scale) x of one part and where its planes go; an empty scale, null, stands for ones.
template <class In>
struct plane_source {
    matrix_view<const In> X;  ///< (vectors, n)
    const float* scale;       ///< n
    plane_view planes;
};

/// Makes the planes of all vectors of some parts, a warp a group. All parts have the same number of vectors.
template <class In, int Most>
struct planes_kernel {
    static constexpr bool overlaps = true;

    plane_source<In> sources[Most];
    int first_group[Most + 1];  ///< of a source, counted over all groups of one vector; behind the last one the total
    int count = 0;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int item = static_cast<int>(block.index()) * block.warps() + block.warp();
        const int total = first_group[count], vectors = static_cast<int>(sources[0].X.rows);
        const int vector = item / total, among = item - vector * total;
        int s = 0;
        while (s + 1 < count && first_group[s + 1] <= among)
            ++s;
        const plane_source<In>& source = sources[s];
        const int group = among - first_group[s], j = group * warp_size + block.lane();
        const bool there = vector < vectors && j < source.X.cols;
        const float factor = there && source.scale != nullptr ? source.scale[j] : 1.0f;
        wait_for_predecessor(block);
        if (vector >= vectors) return;
        const float v = there ? static_cast<float>(source.X(vector, j)) * factor : 0.0f;
        write_planes(block, v, source.planes, vector, group);
    }
};

}  // namespace subbit::gpu
