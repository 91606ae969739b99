// Vectors as bit planes: what lets binary tensor cores multiply signs with real numbers, the signs as they lie in
// memory.
//
// Numbers become integers in two's complement, v_j ~ i_j 2^-s, of B = 24 or 32 bits, and those become planes: plane p
// has bit p of 32 neighbours in a word. A tensor core counts the bits that a row a of signs (1 for +1) and a plane have
// in common; with c_p that count, and the weights w_p = 1, 2, ..., 2^(B-2), -2^(B-1),
//
//     sum_j s_j i_j = 2 sum_p w_p c_p - sum_j i_j.
//
// Of numbers that a warp has read it knows the largest, and 24 bits lose no more than 2^-23 of that. Of the outputs of
// a product, which many blocks make, a block knows a bound, sum_j |v_j|, and every block the same; 32 bits leave room
// for what the bound is above the largest of them (docs/gpu.md). An infinity or a NaN makes a scale NaN.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/kernels/fours.hpp>
#include <subbit/backend/gpu/packed/fixed_point.hpp>

#include <bit>
#include <cmath>
#include <cstdint>

namespace subbit::gpu {

/// Planes of 32 numbers, a lane's: planes g, 8 + g, .. of lane 4g + q, a tile of 8 planes each.
template <int Tiles>
struct plane_words {
    std::uint32_t tile[Tiles];
};
/// Of numbers that a warp has read, and of outputs.
inline constexpr int read_tiles = 3, output_tiles = 4;

/// The factors of numbers below 2^(field - 126), as integers of so many bits: powers of two.
SUBBIT_KERNEL inline fixed_scale<float> plane_scale(int field, int bits) {
    using F = fixed_point<float>;
    constexpr int special = 2 * F::exponent_bias + 1;
    if (field >= special) return scale_of_special<float>();
    return scale_of_exponent<float>(bits - 2 + F::exponent_bias - field);
}
/// Of numbers whose largest magnitude has this pattern. With the largest fraction a number would round up to a power of
/// two: the next field is taken.
SUBBIT_KERNEL inline fixed_scale<float> scale_of_largest(std::uint32_t largest) {
    return plane_scale(static_cast<int>((largest + 1) >> fixed_point<float>::fraction_bits), 8 * read_tiles);
}
/// Of sums of numbers, each with a sign, whose magnitudes have this sum but for rounding: twice that is safe.
SUBBIT_KERNEL inline fixed_scale<float> scale_of_bound(float bound) {
    return plane_scale(static_cast<int>(magnitude_pattern(bound) >> fixed_point<float>::fraction_bits) + 1,
                       8 * output_tiles);
}

/// The planes of some vectors of the same length in a device's memory: 32 planes, and their scales. The words of 32
/// entries lie together, those that a lane needs next to each other.
struct plane_view {
    std::uint32_t* words = nullptr;  ///< (vectors, groups(size), 32)
    float* to_real = nullptr;        ///< one a vector
    int size = 0;                    ///< entries of a vector

    static constexpr index groups(index n) { return (n + 31) / 32; }
    SUBBIT_KERNEL std::uint32_t* words_of(int vector) const { return words + vector * groups(size) * 32; }
    /// Where the word of a plane is among the 32 of a group.
    SUBBIT_KERNEL static constexpr int place(int plane) { return plane % 8 * output_tiles + plane / 8; }
};

/// Exchanges the bits of x under `mask` with those `by` places above them.
SUBBIT_KERNEL constexpr std::uint32_t exchange_bits(std::uint32_t x, int by, std::uint32_t mask) {
    const std::uint32_t different = (x ^ x >> by) & mask;
    return x ^ different ^ different << by;
}

/// The planes of 128 integers, of which lane 4g + q has numbers 32q + 4g .. 32q + 4g + 3.
template <class Block>
SUBBIT_KERNEL plane_words<read_tiles> planes_of(Block& block, const std::int32_t (&integers)[4]) {
    // The bytes of one tile of planes next to each other. What follows exchanges neighbours, hence 0, 2, 1, 3.
    std::uint32_t i[4];
    SUBBIT_UNROLL
    for (int e = 0; e < 4; ++e)
        i[e] = static_cast<std::uint32_t>(integers[e]);
    const std::uint32_t low02 = pick_bytes(block, i[0], i[2], 0x5140), low13 = pick_bytes(block, i[1], i[3], 0x5140),
                        high02 = pick_bytes(block, i[0], i[2], 0x0062), high13 = pick_bytes(block, i[1], i[3], 0x0062);
    plane_words<read_tiles> planes = {{pick_bytes(block, low02, low13, 0x5410), pick_bytes(block, low02, low13, 0x7632),
                                       pick_bytes(block, high02, high13, 0x5410)}};
    const int g = block.lane() / 4;
    const std::uint32_t halves = g / 4 % 2 == 0 ? 0x5410 : 0x3276, bytes = g / 2 % 2 == 0 ? 0x6240 : 0x3715,
                        kept = g % 2 == 0 ? 0x0f0f0f0fu : 0xf0f0f0f0u;
    const int turn = g % 2 == 0 ? 4 : 28;
    SUBBIT_UNROLL
    for (int t = 0; t < read_tiles; ++t) {
        // Bit p of number e, at 8e + p, goes to 4p + e.
        std::uint32_t x = exchange_bits(planes.tile[t], 12, 0x0000f0f0);
        x = exchange_bits(x, 6, 0x00cc00cc);
        x = exchange_bits(x, 3, 0x0a0a0a0a);
        // Four bits of each plane in each of 8 lanes become one plane in each: halves, bytes, fours of bits change
        // places.
        x = pick_bytes(block, x, block.shuffle_xor(x, 16), halves);
        x = pick_bytes(block, x, block.shuffle_xor(x, 8), bytes);
        const std::uint32_t other = block.shuffle_xor(x, 4);
        planes.tile[t] = (x & kept) | ((other << turn | other >> (32 - turn)) & ~kept);
    }
    return planes;
}

/// sum_p w_p c_p of the counts of a lane's planes 8t + 2q and 8t + 2q + 1, in two parts: low + 2^16 high.
struct weighted_count {
    std::int32_t low, high;
};
template <int Tiles>
SUBBIT_KERNEL weighted_count weighted(const std::int32_t (&even)[Tiles], const std::int32_t (&odd)[Tiles], int q) {
    constexpr int last = Tiles - 1;
    std::int32_t sum[Tiles];
    SUBBIT_UNROLL
    for (int t = 0; t < Tiles; ++t)
        sum[t] = even[t] + (t == last && q == 3 ? -2 : 2) * odd[t];
    const std::int32_t unit = 1 << 2 * q;
    weighted_count w = {(sum[0] + 256 * sum[1]) * unit, sum[2] * unit};
    if constexpr (Tiles == 4) w.high += 256 * sum[3] * unit;
    return w;
}

}  // namespace subbit::gpu
