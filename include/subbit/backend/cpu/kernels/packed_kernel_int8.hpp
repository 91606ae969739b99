// The approximate kernels: as packed_kernel.hpp, but a table holds the sums of four columns rounded to 8 bits, so that
// one instruction looks up 32 or 64 of them. Each run of 128 columns has a scale of its own; within a run sums are
// exact integers, and the runs are summed in float32. apply_options (bits/low_rank_binary_linear.hpp) states the error.
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_x86.hpp>

#include <algorithm>
#include <cstdint>

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// How tables lie in memory on x86: for each run of 128 columns, for each of its tiles of 32 columns and for each
/// vector 128 bytes, then 16 equal floats for each vector, the run's scale. Of these 128 bytes, the first 64 belong to
/// the low nibbles of the four bytes of a row, 16 entries each, the other 64 to the high ones.
struct int8_tables {
    static constexpr index run_tiles = 4;
    static constexpr index tile_floats = 32;
    static constexpr index table_size = tile_floats + 16;  // enough for a run of one tile

    /// An entry is a sum over this. `largest` is the largest |x_0| + .. + |x_3| of the run, and `poison` zero where all
    /// its x are finite, else NaN.
    static float scale(float largest, float poison) {
        constexpr float tiny = 1e-30F;
        return (largest < tiny ? 0 : largest / 127) + poison;
    }

    static float inverse(float scale) { return scale == 0 ? 0 : 1 / scale; }

    /// Where the 16 entries of the k-th four columns of a tile begin.
    static std::int8_t* entries(float* tile, index k) {
        return reinterpret_cast<std::int8_t*>(tile) + k % 2 * 64 + k / 2 * 16;
    }
};

/// int8_kernel<Arch>: what packed_kernel<Arch, float> has.
template <class Arch>
struct int8_kernel;

#if SUBBIT_X86

/// Where detect_byte_tables(): the four tables of a word's low nibbles are one register of 64 bytes, so an index is a
/// nibble and the place of its byte; products with ones sum the four lookups of a row.
template <>
struct int8_kernel<avx512_arch> {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 4;
    static constexpr index table_size = int8_tables::table_size;
    /// See packed_kernel<avx512_arch, float>.
    static double serial_work() { return this_processor() == processor::zen5_or_later ? 4e6 : packed_serial_work; }

    template <index V>
    SUBBIT_AVX512_BYTES static void build(float* tables, const float* values, index n) {
        const __m512 s0 = table_signs(0xAAAA), s1 = table_signs(0xCCCC), s2 = table_signs(0xF0F0),
                     s3 = table_signs(0xFF00);
        for (index run = 0; run < n; run += int8_tables::run_tiles * 32) {
            const index tiles = std::min(int8_tables::run_tiles, (n - run) / 32);
            float* const scales = tables + V * tiles * int8_tables::tile_floats;
            for (index v = 0; v < V; ++v) {
                const float* x = values + v * n + run;
                __m512 largest = _mm512_setzero_ps(), poison = _mm512_setzero_ps();
                for (index j = 0; j < 32 * tiles; j += 16) {
                    const __m512 some = _mm512_loadu_ps(x + j), magnitude = _mm512_abs_ps(some);
                    poison = _mm512_add_ps(poison, _mm512_sub_ps(some, some));
                    const __m512 two = _mm512_add_ps(magnitude, _mm512_permute_ps(magnitude, 0xB1));
                    largest = _mm512_max_ps(largest, _mm512_add_ps(two, _mm512_permute_ps(two, 0x4E)));
                }
                const float scale = int8_tables::scale(_mm512_reduce_max_ps(largest), _mm512_reduce_add_ps(poison));
                const __m512 inverse = _mm512_set1_ps(int8_tables::inverse(scale));
                _mm512_store_ps(scales + 16 * v, _mm512_set1_ps(scale));
                for (index tile = 0; tile < tiles; ++tile)
                    for (index k = 0; k < 8; ++k) {
                        const float* four = x + 32 * tile + 4 * k;
                        const __m512 low =
                            _mm512_fmadd_ps(s1, _mm512_set1_ps(four[1]), _mm512_mul_ps(s0, _mm512_set1_ps(four[0])));
                        const __m512 high =
                            _mm512_fmadd_ps(s3, _mm512_set1_ps(four[3]), _mm512_mul_ps(s2, _mm512_set1_ps(four[2])));
                        const __m512i sums = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_add_ps(low, high), inverse));
                        _mm_store_si128(reinterpret_cast<__m128i*>(int8_tables::entries(
                                            tables + (tile * V + v) * int8_tables::tile_floats, k)),
                                        _mm512_cvtepi32_epi8(sums));
                    }
            }
            tables = scales + 16 * V;
        }
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        for_even_runs<V == 1 ? 8 : 2>(
            groups, [&](auto run, index at) { sweep<run, V>(bits, group + at, tables, out + 16 * at); });
    }

  private:
    template <index G, index V>
    SUBBIT_AVX512_BYTES static void sweep(bit_view bits, index group, const float* tables, float* out) {
        const index col_groups = bits.col_groups();
        const line_prefetch prefetch(col_groups, G);
        const std::uint32_t* const first = bits.tile(group, 0);
        const __m512i nibble = _mm512_set1_epi8(15), place = _mm512_set1_epi32(0x30201000),
                      by4 = _mm512_set1_epi16(1 << 12), ones = _mm512_set1_epi8(1);
        constexpr int and_or = 0xEA;  // (a & b) | c
        __m512 sum[G][V];
#pragma GCC unroll 8
        for (index g = 0; g < G; ++g)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                sum[g][v] = _mm512_setzero_ps();
        for (index c = 0; c < col_groups;) {
            const index end = std::min(col_groups, c + int8_tables::run_tiles);
            __m512i total[G][V];
#pragma GCC unroll 8
            for (index g = 0; g < G; ++g)
#pragma GCC unroll 4
                for (index v = 0; v < V; ++v)
                    total[g][v] = _mm512_setzero_si512();
            for (; c < end; ++c, tables += V * int8_tables::tile_floats) {
                __m512i low[V], high[V];
#pragma GCC unroll 4
                for (index v = 0; v < V; ++v) {
                    low[v] = _mm512_load_si512(tables + v * int8_tables::tile_floats);
                    high[v] = _mm512_load_si512(tables + v * int8_tables::tile_floats + 16);
                }
#pragma GCC unroll 8
                for (index g = 0; g < G; ++g) {
                    const std::uint32_t* tile = first + (g * col_groups + c) * bit_layout::tile_rows;
                    const __m512i word = _mm512_loadu_si512(tile);
                    prefetch(tile, c);
                    const __m512i at_low = _mm512_ternarylogic_epi32(word, nibble, place, and_or);
                    const __m512i at_high =
                        _mm512_ternarylogic_epi32(_mm512_mulhi_epu16(word, by4), nibble, place, and_or);
#pragma GCC unroll 4
                    for (index v = 0; v < V; ++v) {
                        total[g][v] = _mm512_dpbusd_epi32(total[g][v], ones, _mm512_permutexvar_epi8(at_low, low[v]));
                        total[g][v] = _mm512_dpbusd_epi32(total[g][v], ones, _mm512_permutexvar_epi8(at_high, high[v]));
                    }
                }
            }
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v, tables += 16)
#pragma GCC unroll 8
                for (index g = 0; g < G; ++g)
                    sum[g][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[g][v]), _mm512_load_ps(tables), sum[g][v]);
        }
#pragma GCC unroll 8
        for (index g = 0; g < G; ++g)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                _mm512_storeu_ps(out + v * 16 * max_groups + 16 * g, sum[g][v]);
    }
};

/// 32 rows at a time: their bytes are turned so that a register holds one byte of each row, and then one table serves
/// it.
template <>
struct int8_kernel<avx2_arch> {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 1;
    static constexpr index table_size = int8_tables::table_size;

    template <index V>
    SUBBIT_AVX2 static void build(float* tables, const float* values, index n) {
        static_assert(V == 1);
        const __m256 s0 = _mm256_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1), s1 = _mm256_setr_ps(-1, -1, 1, 1, -1, -1, 1, 1),
                     s2 = _mm256_setr_ps(-1, -1, -1, -1, 1, 1, 1, 1), negative = _mm256_set1_ps(-0.0F);
        for (index run = 0; run < n; run += int8_tables::run_tiles * 32) {
            const index tiles = std::min(int8_tables::run_tiles, (n - run) / 32);
            const float* x = values + run;
            __m256 largest = _mm256_setzero_ps(), poison = _mm256_setzero_ps();
            for (index j = 0; j < 32 * tiles; j += 8) {
                const __m256 some = _mm256_loadu_ps(x + j), magnitude = _mm256_andnot_ps(negative, some);
                poison = _mm256_add_ps(poison, _mm256_sub_ps(some, some));
                const __m256 two = _mm256_add_ps(magnitude, _mm256_permute_ps(magnitude, 0xB1));
                largest = _mm256_max_ps(largest, _mm256_add_ps(two, _mm256_permute_ps(two, 0x4E)));
            }
            float most = 0, bad = 0, lane[8];
            _mm256_storeu_ps(lane, largest);
            for (const float l : lane)
                most = std::max(most, l);
            _mm256_storeu_ps(lane, poison);
            for (const float l : lane)
                bad += l;
            const float scale = int8_tables::scale(most, bad);
            const __m256 inverse = _mm256_set1_ps(int8_tables::inverse(scale));
            for (index tile = 0; tile < tiles; ++tile, tables += int8_tables::tile_floats)
                for (index k = 0; k < 8; ++k) {
                    const float* four = x + 32 * tile + 4 * k;
                    const __m256 three = _mm256_fmadd_ps(
                        s2, _mm256_set1_ps(four[2]),
                        _mm256_fmadd_ps(s1, _mm256_set1_ps(four[1]), _mm256_mul_ps(s0, _mm256_set1_ps(four[0]))));
                    const __m256 last = _mm256_set1_ps(four[3]);
                    const __m256i minus = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_sub_ps(three, last), inverse)),
                                  plus = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_add_ps(three, last), inverse));
                    // Packing works within 128-bit lanes, and leaves entries 0..3, 8..11 in one, the others in the
                    // other.
                    __m256i packed = _mm256_packs_epi32(minus, plus);
                    packed = _mm256_packs_epi16(packed, packed);
                    _mm_store_si128(
                        reinterpret_cast<__m128i*>(int8_tables::entries(tables, k)),
                        _mm_unpacklo_epi32(_mm256_castsi256_si128(packed), _mm256_extracti128_si256(packed, 1)));
                }
            _mm256_store_ps(tables, _mm256_set1_ps(scale));
            _mm256_store_ps(tables + 8, _mm256_set1_ps(scale));
            tables += 16;
        }
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        index g = 0;
        for (; g + 2 <= groups; g += 2)
            sweep<2>(bits, group + g, tables, out + 16 * g);
        if (g < groups) sweep<1>(bits, group + g, tables, out + 16 * g);
    }

  private:
    /// G groups of 16 rows, one or two.
    template <index G>
    SUBBIT_AVX2 static void sweep(bit_view bits, index group, const float* tables, float* out) {
        const index col_groups = bits.col_groups();
        const std::uint32_t* const first = bits.tile(group, 0);
        const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi8(1);
        const __m256i by_place =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        __m256 sum[G][2];
        for (index g = 0; g < G; ++g)
            sum[g][0] = sum[g][1] = _mm256_setzero_ps();
        for (index c = 0; c < col_groups;) {
            const index end = std::min(col_groups, c + int8_tables::run_tiles);
            __m256i total[G];
            for (index g = 0; g < G; ++g)
                total[g] = _mm256_setzero_si256();
            for (; c < end; ++c, tables += int8_tables::tile_floats) {
                __m256i part[4];  // 8 rows each: in every 128-bit lane byte p of 4 rows, p = 0..3
#pragma GCC unroll 4
                for (index h = 0; h < 4; ++h)
                    part[h] = h / 2 >= G
                                  ? _mm256_setzero_si256()
                                  : _mm256_shuffle_epi8(
                                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
                                            first + (h / 2 * col_groups + c) * bit_layout::tile_rows + h % 2 * 8)),
                                        by_place);
                const __m256i low01 = _mm256_unpacklo_epi32(part[0], part[1]),
                              low23 = _mm256_unpacklo_epi32(part[2], part[3]),
                              high01 = _mm256_unpackhi_epi32(part[0], part[1]),
                              high23 = _mm256_unpackhi_epi32(part[2], part[3]);
                const __m256i place[4] = {_mm256_unpacklo_epi64(low01, low23), _mm256_unpackhi_epi64(low01, low23),
                                          _mm256_unpacklo_epi64(high01, high23), _mm256_unpackhi_epi64(high01, high23)};
#pragma GCC unroll 4
                for (index p = 0; p < 4; ++p) {
                    const auto* table = reinterpret_cast<const __m128i*>(tables + 4 * p);
                    const __m256i low = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(table)),
                                                            _mm256_and_si256(place[p], nibble));
                    const __m256i high = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(table + 4)),
                                                             _mm256_and_si256(_mm256_srli_epi16(place[p], 4), nibble));
                    total[0] = _mm256_add_epi16(total[0], _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(low, high)));
                    if constexpr (G == 2)
                        total[1] =
                            _mm256_add_epi16(total[1], _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(low, high)));
                }
            }
            // At most 4 tiles x 8 lookups x 127: 16 bits hold it.
            const __m256 scale = _mm256_load_ps(tables);
            tables += 16;
            for (index g = 0; g < G; ++g)
                for (index half = 0; half < 2; ++half) {
                    const __m128i rows =
                        half == 0 ? _mm256_castsi256_si128(total[g]) : _mm256_extracti128_si256(total[g], 1);
                    sum[g][half] =
                        _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(rows)), scale, sum[g][half]);
                }
        }
        // Each sum has rows 0..3 and 8..11 of its group, or 4..7 and 12..15.
        for (index g = 0; g < G; ++g) {
            _mm256_storeu_ps(out + 16 * g, _mm256_permute2f128_ps(sum[g][0], sum[g][1], 0x20));
            _mm256_storeu_ps(out + 16 * g + 8, _mm256_permute2f128_ps(sum[g][0], sum[g][1], 0x31));
        }
    }
};

#endif

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
