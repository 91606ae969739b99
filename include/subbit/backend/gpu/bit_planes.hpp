// Vectors as bit planes: what lets binary tensor cores multiply signs with real numbers, the signs as they lie in
// memory.
//
// Numbers become integers of 24 bits in two's complement, v_j ~ i_j 2^-s with the largest s for which all fit, and
// those become planes: plane p has bit p of 32 neighbours in a word. A tensor core counts the bits that a row a of
// signs (1 for +1) and a plane have in common; with c_p that count, and the weights w_p = 1, 2, ..., 2^22, -2^23,
//
//     sum_j s_j i_j = 2 sum_p w_p c_p - sum_j i_j.
//
// What is lost is lost in the integers: 2^-23 of the largest number at most, what a sum in float loses anyhow. An
// infinity or a NaN makes the scale NaN.
//
// A warp turns 128 numbers into the words that its lanes need for a tensor core's product (lane 4g + q: planes g, 8 + g
// and 16 + g of numbers 32q ..) by moving bits within and between the lanes, without a table or shared memory.
#pragma once

#include <subbit/backend/gpu/block.hpp>
#include <subbit/backend/gpu/fixed_point.hpp>
#include <subbit/backend/gpu/fours.hpp>
#include <subbit/backend/gpu/instructions.hpp>

#include <bit>
#include <cmath>
#include <cstdint>

namespace subbit::gpu {

/// 24 planes of 32 numbers, a lane's: planes g, 8 + g and 16 + g.
struct plane_words {
    static constexpr int tiles = 3;
    std::uint32_t tile[tiles];
};

/// The factors of numbers whose largest magnitude has this pattern: powers of two.
SUBBIT_KERNEL inline fixed_scale<float> plane_scale(std::uint32_t largest) {
    using F = fixed_point<float>;
    constexpr std::uint32_t special = 2 * F::exponent_bias + 1, bits = 23;
    if (largest >> F::fraction_bits == special) return {0.0f, std::bit_cast<float>(0x7fc00000u)};
    // All are below 2^(field - 126). With the largest fraction a number would round up to that: the next field is
    // taken.
    const int field = static_cast<int>((largest + 1) >> F::fraction_bits);
    // Both powers stay normal numbers; numbers next to nothing have fewer bits then.
    const int exponent = static_cast<int>(bits) + F::exponent_bias - 1 - field;
    const int most = F::exponent_bias - 1, s = exponent < most ? exponent : most;
    const auto power = [](int e) {
        return std::bit_cast<float>(static_cast<std::uint32_t>(e + F::exponent_bias) << F::fraction_bits);
    };
    return {power(s), power(-s)};
}

/// Exchanges the bits of x under `mask` with those `by` places above them.
SUBBIT_KERNEL constexpr std::uint32_t exchange_bits(std::uint32_t x, int by, std::uint32_t mask) {
    const std::uint32_t different = (x ^ x >> by) & mask;
    return x ^ different ^ different << by;
}

/// The planes of 128 integers, of which lane 4g + q has numbers 32q + 4g .. 32q + 4g + 3.
template <class Block>
SUBBIT_KERNEL plane_words planes_of(Block& block, const std::int32_t (&integers)[4]) {
    // The bytes of one tile of planes next to each other. What follows exchanges neighbours, hence 0, 2, 1, 3.
    std::uint32_t i[4];
    SUBBIT_UNROLL
    for (int e = 0; e < 4; ++e)
        i[e] = static_cast<std::uint32_t>(integers[e]);
    const std::uint32_t low02 = pick_bytes(block, i[0], i[2], 0x5140), low13 = pick_bytes(block, i[1], i[3], 0x5140),
                        high02 = pick_bytes(block, i[0], i[2], 0x0062), high13 = pick_bytes(block, i[1], i[3], 0x0062);
    plane_words planes = {{pick_bytes(block, low02, low13, 0x5410), pick_bytes(block, low02, low13, 0x7632),
                           pick_bytes(block, high02, high13, 0x5410)}};
    const int g = block.lane() / 4;
    const std::uint32_t halves = g / 4 % 2 == 0 ? 0x5410 : 0x3276, bytes = g / 2 % 2 == 0 ? 0x6240 : 0x3715,
                        kept = g % 2 == 0 ? 0x0f0f0f0fu : 0xf0f0f0f0u;
    const int turn = g % 2 == 0 ? 4 : 28;
    SUBBIT_UNROLL
    for (int t = 0; t < plane_words::tiles; ++t) {
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
SUBBIT_KERNEL inline weighted_count weighted(const std::int32_t (&even)[plane_words::tiles],
                                             const std::int32_t (&odd)[plane_words::tiles], int q) {
    const std::int32_t sign = q == 3 ? -2 : 2;  // plane 23
    return {(even[0] + 2 * odd[0] + 256 * (even[1] + 2 * odd[1])) << 2 * q, (even[2] + sign * odd[2]) * (1 << 2 * q)};
}

}  // namespace subbit::gpu
