// The product of packed signs with a few vectors: y = B x without unpacking B.
//
// A kernel looks several columns up at once. For every `columns` neighbours of x, all sums +-x_j +-x_(j+1).. are one
// register, a table; the bits of a row are the index. What differs between processors is how long a table can be.
//   build<V>(tables, values, n)   the tables of V vectors of n values (a multiple of 32), values[v*n + j]
//   sums<V>(bits, group, groups, tables, out)   out[v*16*max_groups + i] = row 16*group + i of the product with vector
//   v
// Each sum runs over the columns in order and in one accumulator, so it does not depend on V or on how rows are shared
// out.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/bits/bit_view.hpp>

#include <bit>
#include <cstdint>
#include <type_traits>

#if SUBBIT_X86
#include <immintrin.h>
#endif

namespace subbit {

/// Any processor and any scalar: no tables, the sign bit of each value is flipped in 16 rows at a time.
template <class Arch, class Real>
struct packed_kernel {
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 1;
    static constexpr index table_size = 32;  ///< numbers for each vector and each 32 columns

    template <index V>
    static void build(Real* tables, const Real* values, index n) {
        static_assert(V == 1);
        for (index j = 0; j < n; ++j)
            tables[j] = values[j];
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const Real* tables, Real* out) {
        using word = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
        constexpr int top = 8 * sizeof(word) - 1;
        for (index g = 0; g < groups; ++g) {
            Real sum[16] = {};
            for (index c = 0; c < bits.col_groups(); ++c) {
                const std::uint32_t* tile = bits.tile(group + g, c);
                for (int j = 0; j < 32; ++j) {
                    const word x = std::bit_cast<word>(tables[32 * c + j]);
                    for (int i = 0; i < 16; ++i) {
                        const word minus = static_cast<word>(~tile[i] >> j & 1u);
                        sum[i] += std::bit_cast<Real>(x ^ (minus << top));
                    }
                }
            }
            for (int i = 0; i < 16; ++i)
                out[16 * g + i] = sum[i];
        }
    }
};

#if SUBBIT_X86

/// 16 entries: four columns a lookup, eight lookups for a tile of 16 rows and 32 columns.
template <>
struct packed_kernel<avx512_arch, float> {
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 4;
    static constexpr index table_size = 8 * 16;

    template <index V>
    SUBBIT_AVX512 static void build(float* tables, const float* values, index n) {
        // Entry e adds x_j where bit j of e is set and subtracts it elsewhere.
        const __m512 s0 = signs(0xAAAA), s1 = signs(0xCCCC), s2 = signs(0xF0F0), s3 = signs(0xFF00);
        for (index j = 0; j < n; j += 4)
            for (index v = 0; v < V; ++v, tables += 16) {
                const float* x = values + v * n + j;
                const __m512 low = _mm512_fmadd_ps(s1, _mm512_set1_ps(x[1]), _mm512_mul_ps(s0, _mm512_set1_ps(x[0])));
                const __m512 high = _mm512_fmadd_ps(s3, _mm512_set1_ps(x[3]), _mm512_mul_ps(s2, _mm512_set1_ps(x[2])));
                _mm512_store_ps(tables, _mm512_add_ps(low, high));
            }
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        index g = 0;
        // Few vectors: more rows in flight. Several: their accumulators fill the registers.
        if constexpr (V == 1)
            for (; g + 8 <= groups; g += 8)
                sweep<8, V>(bits, group + g, tables, out + 16 * g);
        for (; g + 4 <= groups; g += 4)
            sweep<4, V>(bits, group + g, tables, out + 16 * g);
        for (; g < groups; ++g)
            sweep<1, V>(bits, group + g, tables, out + 16 * g);
    }

  private:
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 signs(unsigned plus) {
        return _mm512_mask_blend_ps(static_cast<__mmask16>(plus), _mm512_set1_ps(-1), _mm512_set1_ps(1));
    }

    template <index G, index V>
    SUBBIT_AVX512 static void sweep(bit_view bits, index group, const float* tables, float* out) {
        constexpr index prefetch_words = 32 * bit_layout::tile_rows;
        const index col_groups = bits.col_groups();
        const std::uint32_t* const first = bits.tile(group, 0);
        __m512 sum[G][V];
#pragma GCC unroll 8
        for (index g = 0; g < G; ++g)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                sum[g][v] = _mm512_setzero_ps();
        for (index c = 0; c < col_groups; ++c, tables += V * table_size) {
            __m512i word[G];
#pragma GCC unroll 8
            for (index g = 0; g < G; ++g) {
                const std::uint32_t* tile = first + (g * col_groups + c) * bit_layout::tile_rows;
                word[g] = _mm512_loadu_si512(tile);
                _mm_prefetch(reinterpret_cast<const char*>(tile + prefetch_words), _MM_HINT_T0);
            }
            // A lookup heeds the low four bits of each lane. The high half of a 16-bit product with 2^(16-s) is a shift
            // right by s, on the multiplier's port rather than on the one that the lookups need.
#pragma GCC unroll 8
            for (int nibble = 0; nibble < 8; ++nibble) {
                __m512 table[V];
#pragma GCC unroll 4
                for (index v = 0; v < V; ++v)
                    table[v] = _mm512_load_ps(tables + (nibble * V + v) * 16);
#pragma GCC unroll 8
                for (index g = 0; g < G; ++g) {
                    if (nibble == 4) word[g] = _mm512_srli_epi32(word[g], 16);
                    __m512i at = word[g];
                    if (nibble % 4 != 0)
                        at =
                            _mm512_mulhi_epu16(at, _mm512_set1_epi16(static_cast<short>(1 << (16 - 4 * (nibble % 4)))));
#pragma GCC unroll 4
                    for (index v = 0; v < V; ++v) {
                        sum[g][v] = _mm512_add_ps(sum[g][v], _mm512_permutexvar_ps(at, table[v]));
                        // Without this, GCC gathers all lookups before the additions and spills them.
                        asm("" : "+v"(sum[g][v]));
                    }
                }
            }
        }
#pragma GCC unroll 8
        for (index g = 0; g < G; ++g)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                _mm512_storeu_ps(out + v * 16 * max_groups + 16 * g, sum[g][v]);
    }
};

/// 8 entries: three columns a lookup, eleven lookups for 8 rows and 32 columns (the last one has two columns).
template <>
struct packed_kernel<avx2_arch, float> {
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 4;
    static constexpr index table_size = 11 * 8;

    template <index V>
    SUBBIT_AVX2 static void build(float* tables, const float* values, index n) {
        const __m256 s0 = _mm256_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1), s1 = _mm256_setr_ps(-1, -1, 1, 1, -1, -1, 1, 1),
                     s2 = _mm256_setr_ps(-1, -1, -1, -1, 1, 1, 1, 1);
        for (index block = 0; block < n; block += 32)
            for (index j = 0; j < 32; j += 3)
                for (index v = 0; v < V; ++v, tables += 8) {
                    const float* x = values + v * n + block + j;
                    const float third = j + 2 < 32 ? x[2] : 0.0F;
                    const __m256 low =
                        _mm256_fmadd_ps(s1, _mm256_set1_ps(x[1]), _mm256_mul_ps(s0, _mm256_set1_ps(x[0])));
                    _mm256_store_ps(tables, _mm256_fmadd_ps(s2, _mm256_set1_ps(third), low));
                }
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        constexpr index half_tiles = V == 1 ? 4 : 2;
        index h = 0;
        for (; h + half_tiles <= 2 * groups; h += half_tiles)
            sweep<half_tiles, V>(bits, 2 * group + h, tables, out + 8 * h);
        for (; h < 2 * groups; ++h)
            sweep<1, V>(bits, 2 * group + h, tables, out + 8 * h);
    }

  private:
    /// H half tiles of 8 rows.
    template <index H, index V>
    SUBBIT_AVX2 static void sweep(bit_view bits, index half, const float* tables, float* out) {
        __m256 sum[H][V];
#pragma GCC unroll 4
        for (index h = 0; h < H; ++h)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                sum[h][v] = _mm256_setzero_ps();
        for (index c = 0; c < bits.col_groups(); ++c, tables += V * table_size) {
            __m256i word[H];
#pragma GCC unroll 4
            for (index h = 0; h < H; ++h)
                word[h] = _mm256_loadu_si256(
                    reinterpret_cast<const __m256i*>(bits.tile((half + h) / 2, c) + (half + h) % 2 * 8));
#pragma GCC unroll 11
            for (int lookup = 0; lookup < 11; ++lookup)
#pragma GCC unroll 4
                for (index h = 0; h < H; ++h) {
#pragma GCC unroll 4
                    for (index v = 0; v < V; ++v) {
                        const __m256 table = _mm256_load_ps(tables + (lookup * V + v) * 8);
                        sum[h][v] = _mm256_add_ps(sum[h][v], _mm256_permutevar8x32_ps(table, word[h]));
                        asm("" : "+x"(sum[h][v]));
                    }
                    word[h] = _mm256_srli_epi32(word[h], 3);
                }
        }
#pragma GCC unroll 4
        for (index h = 0; h < H; ++h)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                _mm256_storeu_ps(out + v * 16 * max_groups + 8 * h, sum[h][v]);
    }
};

#endif

}  // namespace subbit
