// The kernels of packed_kernel.hpp for float on 64-bit ARM, exact and approximate.
//
// TBL looks up 16 bytes at once. So a table holds the 16 sums of four columns as integers, in planes: the lowest bytes
// of all sums, the next bytes, and so on, the highest ones with a sign. A register has two neighbouring bytes of 8
// rows, and TBL takes the tables of both; adding neighbours (UADALP) sums what it finds in 16 bits, a plane by itself.
// At the end of a run of columns the planes' sums become one integer. A run has a scale of its own; within a run sums
// are exact, and the runs are summed in float32.
//
// Three planes are 24 bits, as many as a float has: the largest sum of a run is rounded as a float is, the others to
// the same absolute error, which a float sum that contains the largest has too. One plane is the approximation.
#pragma once

#include <subbit/backend/cpu/kernels/packed_kernel_int8.hpp>

#if SUBBIT_ARM
#include <arm_neon.h>

#include <algorithm>
#include <bit>
#include <cstdint>

namespace subbit::cpu_kernels {

/// What an entry of a table is: a sum times `inverse`, rounded to an integer.
struct plane_scale {
    float scale, inverse;

    /// `largest` is the largest |x_0| + .. + |x_3| of the run, and `poison` zero where all its x are finite, else NaN.
    template <int Planes>
    static plane_scale of(float largest, float poison) {
        if constexpr (Planes == 1) {
            const float scale = int8_tables::scale(largest, poison);
            return {scale, int8_tables::inverse(scale)};
        }
        // The power of two for which the largest is just below 2^23; above 2^-126, so that both are normal numbers.
        const int exponent = static_cast<int>(std::bit_cast<std::uint32_t>(largest) >> 23) - 126;
        const int shift = std::min(8 * Planes - 1 - exponent, 126);
        const auto power = [](int e) { return std::bit_cast<float>(static_cast<std::uint32_t>(127 + e) << 23); };
        return {power(-shift) + poison + (largest - largest), power(shift)};
    }
};

/// Tables in memory: for each run of columns, for each of its tiles of 32 columns, for the low and high nibbles of the
/// first two bytes of a row, then of the last two, for each vector and each plane 16 bytes for either byte; then the
/// run's scale for each vector, in four equal floats.
template <class Arch, int Planes, index RunTiles, index MaxVectors>
struct plane_kernel {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = MaxVectors;
    static constexpr index table_size = Planes * 32 + 4;  // enough for a run of one tile

    template <index V>
    static void build(float* tables, const float* values, index n) {
        for (index run = 0; run < n; run += RunTiles * 32) {
            const index tiles = std::min(RunTiles, (n - run) / 32);
            float* const scales = tables + V * tiles * Planes * 32;
            for (index v = 0; v < V; ++v) {
                const float* x = values + v * n + run;
                const plane_scale s = scale_of(x, 8 * tiles);
                vst1q_f32(scales + 4 * v, vdupq_n_f32(s.scale));
                for (index tile = 0; tile < tiles; ++tile)
                    for (index k = 0; k < 8; ++k) {
                        const index byte = k / 2, pair = byte / 2 * 2 + k % 2;
                        std::uint8_t* table = bytes_of(tables) + ((tile * 4 + pair) * V + v) * Planes * 32;
                        build_four(table + byte % 2 * 16, x + 32 * tile + 4 * k, s.inverse);
                    }
            }
            tables = scales + 4 * V;
        }
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        constexpr index most = V == 1 ? 2 : 1;  // as the registers allow
        for_even_runs<most>(groups,
                            [&](auto run, index at) { sweep<run, V>(bits, group + at, tables, out + 16 * at); });
    }

  private:
    /// The sums of 16 rows, each plane's by itself.
    using plane_sums = uint16x8_t[Planes][2];

    static std::uint8_t* bytes_of(float* table) { return reinterpret_cast<std::uint8_t*>(table); }

    static plane_scale scale_of(const float* x, index fours) {
        float32x4_t largest = vdupq_n_f32(0), poison = largest;
        for (index k = 0; k < fours; ++k) {
            const float32x4_t some = vld1q_f32(x + 4 * k), magnitude = vabsq_f32(some);
            poison = vaddq_f32(poison, vsubq_f32(some, some));
            const float32x4_t two = vpaddq_f32(magnitude, magnitude);
            largest = vmaxq_f32(largest, vpaddq_f32(two, two));
        }
        return plane_scale::of<Planes>(vmaxvq_f32(largest), vaddvq_f32(poison));
    }

    /// Entry e adds x_j where bit j of e is set and subtracts it elsewhere; planes lie 32 bytes apart.
    static void build_four(std::uint8_t* table, const float* x, float inverse) {
        constexpr float s0[4] = {-1, 1, -1, 1}, s1[4] = {-1, -1, 1, 1};
        constexpr std::int32_t most = (1 << (8 * Planes - 1)) - 1;  // rounding may reach the next number
        const float32x4_t low = vfmaq_n_f32(vmulq_n_f32(vld1q_f32(s0), x[0]), vld1q_f32(s1), x[1]);
        const float high[4] = {-x[2] - x[3], x[2] - x[3], x[3] - x[2], x[2] + x[3]};
        uint8x16x4_t entries;
        for (int e = 0; e < 4; ++e) {
            const float32x4_t sum = vaddq_f32(low, vdupq_n_f32(high[e]));
            const int32x4_t entry = vcvtnq_s32_f32(vmulq_n_f32(sum, inverse));
            entries.val[e] = vreinterpretq_u8_s32(vminq_s32(entry, vdupq_n_s32(most)));
        }
        const std::uint8_t lowest[16] = {0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60};
        for (int p = 0; p < Planes; ++p)
            vst1q_u8(table + 32 * p, vqtbl4q_u8(entries, vaddq_u8(vld1q_u8(lowest), vdupq_n_u8(std::uint8_t(p)))));
    }

    /// Adds the entries of two bytes of 8 rows, first or second half of a tile, to these rows' sums.
    [[gnu::always_inline]] static void look_up(const std::uint8_t* table, uint8x16_t at, plane_sums& sum, index half) {
#pragma GCC unroll 3
        for (int p = 0; p < Planes; ++p) {
            const uint8x16_t found = vqtbl2q_u8(vld1q_u8_x2(table + 32 * p), at);
            if (p + 1 < Planes)
                sum[p][half] = vpadalq_u8(sum[p][half], found);
            else
                sum[p][half] =
                    vreinterpretq_u16_s16(vpadalq_s8(vreinterpretq_s16_u16(sum[p][half]), vreinterpretq_s8_u8(found)));
        }
    }

    /// total += scale times the integers that the planes' sums are: at most RunTiles * 8 * 2^23, which 32 bits hold.
    [[gnu::always_inline]] static void add_run(const plane_sums& sum, float32x4_t scale, float32x4_t (&total)[4]) {
        static_assert(RunTiles * 8 * 255 < 1 << 16 && (RunTiles * 8LL << (8 * Planes - 1)) < 1LL << 31);
#pragma GCC unroll 4
        for (int quarter = 0; quarter < 4; ++quarter) {
            const auto rows = [&](int p) {
                const uint16x8_t half = sum[p][quarter / 2];
                return quarter % 2 == 0 ? vget_low_u16(half) : vget_high_u16(half);
            };
            int32x4_t whole = vmovl_s16(vreinterpret_s16_u16(rows(Planes - 1)));
#pragma GCC unroll 2
            for (int p = Planes - 2; p >= 0; --p)
                whole = vreinterpretq_s32_u32(vaddw_u16(vreinterpretq_u32_s32(vshlq_n_s32(whole, 8)), rows(p)));
            total[quarter] = vfmaq_f32(total[quarter], vcvtq_f32_s32(whole), scale);
        }
    }

    /// G groups of 16 rows.
    template <index G, index V>
    static void sweep(bit_view bits, index group, const float* tables, float* out) {
        const index col_groups = bits.col_groups();
        const std::uint32_t* tile = bits.tile(group, 0);
        const uint8x16_t nibble = vdupq_n_u8(15), second = vreinterpretq_u8_u16(vdupq_n_u16(16 << 8));
        float32x4_t total[G][V][4] = {};
        for (index c = 0; c < col_groups;) {
            const index end = std::min(col_groups, c + RunTiles);
            plane_sums sum[G][V] = {};
            for (; c < end; ++c, tile += bit_layout::tile_rows, tables += V * Planes * 32) {
                uint16x8x2_t rows[G][2];  // the first and the last two bytes of 8 rows
#pragma GCC unroll 8
                for (index i = 0; i < 2 * G; ++i)
                    rows[i / 2][i % 2] = vld2q_u16(reinterpret_cast<const std::uint16_t*>(
                        tile + i / 2 * col_groups * bit_layout::tile_rows + i % 2 * 8));
#pragma GCC unroll 4
                for (int pair = 0; pair < 4; ++pair)
#pragma GCC unroll 8
                    for (index i = 0; i < 2 * G; ++i) {
                        const uint8x16_t bytes = vreinterpretq_u8_u16(rows[i / 2][i % 2].val[pair / 2]);
                        const uint8x16_t nibbles = pair % 2 == 0 ? vandq_u8(bytes, nibble) : vshrq_n_u8(bytes, 4);
#pragma GCC unroll 4
                        for (index v = 0; v < V; ++v)
                            look_up(reinterpret_cast<const std::uint8_t*>(tables) + (pair * V + v) * Planes * 32,
                                    vorrq_u8(nibbles, second), sum[i / 2][v], i % 2);
                    }
            }
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v, tables += 4)
#pragma GCC unroll 4
                for (index g = 0; g < G; ++g)
                    add_run(sum[g][v], vld1q_f32(tables), total[g][v]);
        }
        for (index g = 0; g < G; ++g)
            for (index v = 0; v < V; ++v)
                for (int quarter = 0; quarter < 4; ++quarter)
                    vst1q_f32(out + v * 16 * max_groups + 16 * g + 4 * quarter, total[g][v][quarter]);
    }
};

template <>
struct packed_kernel<neon_arch, float> : plane_kernel<neon_arch, 3, 8, 2> {};

template <>
struct int8_kernel<neon_arch> : plane_kernel<neon_arch, 1, int8_tables::run_tiles, 4> {};

}  // namespace subbit::cpu_kernels

#endif
