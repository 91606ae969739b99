// The kernels of packed_kernel.hpp for float on x86: tables of 32 sums (AVX-512), and of 8 or 4 (AVX2).
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/kernels/line_prefetch.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel.hpp>

#if SUBBIT_X86
#include <utility>

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// +1 in the lanes that `plus` names, -1 in the others.
template <class Arch = avx512_arch>
SUBBIT_AVX512 [[gnu::always_inline]] inline __m512 table_signs(unsigned plus) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(plus), _mm512_set1_ps(-1), _mm512_set1_ps(1));
}

/// 32 entries: five columns a lookup, seven lookups for a tile of 16 rows and 32 columns (the last one has two
/// columns).
template <>
struct packed_kernel<avx512_arch, float> {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 4;
    static constexpr index table_size = 6 * 32 + 16;
    /// As measured: on Zen 5 sharing takes longer than elsewhere, and what is shared less.
    static double serial_work() { return this_processor() == processor::zen5_or_later ? 2e6 : packed_serial_work; }

    template <index V>
    static void build(float* tables, const float* values, index n) {
        in_twos() ? build_by<V, fewer<V>>(tables, values, n) : build_by<V, V>(tables, values, n);
    }
    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        in_twos() ? sums_by<V, fewer<V>>(bits, group, groups, tables, out)
                  : sums_by<V, V>(bits, group, groups, tables, out);
    }

    /// The same for W of the V vectors at a time, which share loads of signs. V is a multiple of W.
    template <index V, index W>
    static void build_by(float* tables, const float* values, index n) {
        for (index v = 0; v < V; v += W)
            build_together<W>(tables + v * n / bit_layout::tile_cols * table_size, values + v * n, n);
    }
    template <index V, index W>
    static void sums_by(bit_view bits, index group, index groups, const float* tables, float* out) {
        for (index v = 0; v < V; v += W) {
            const float* const some = tables + v * bits.col_groups() * table_size;
            float* const to = out + v * 16 * max_groups;
            // The accumulators of four vectors leave registers for fewer rows.
            for_even_runs<W == 4 ? 4 : 8>(
                groups, [&](auto run, index at) { sweep<run, W>(bits, group + at, some, to + 16 * at); });
        }
    }

  private:
    template <index V>
    static constexpr index fewer = V == 1 ? 1 : 2;

    /// On Zen 5, lookups of four vectors wait for their tables, which come from the second cache. Two vectors leave
    /// registers for twice the rows, so that each table is loaded half as often; the signs are read twice.
    static bool in_twos() { return this_processor() == processor::zen5_or_later; }

    template <index V>
    SUBBIT_AVX512 static void build_together(float* tables, const float* values, index n) {
        // Entry e adds x_j where bit j of e is set and subtracts it elsewhere.
        const __m512 s0 = table_signs(0xAAAA), s1 = table_signs(0xCCCC), s2 = table_signs(0xF0F0),
                     s3 = table_signs(0xFF00);
        for (index block = 0; block < n; block += 32) {
            for (index j = 0; j < 30; j += 5)
                for (index v = 0; v < V; ++v, tables += 32) {
                    const float* x = values + v * n + block + j;
                    const __m512 low =
                        _mm512_fmadd_ps(s1, _mm512_set1_ps(x[1]), _mm512_mul_ps(s0, _mm512_set1_ps(x[0])));
                    const __m512 high =
                        _mm512_fmadd_ps(s3, _mm512_set1_ps(x[3]), _mm512_mul_ps(s2, _mm512_set1_ps(x[2])));
                    const __m512 four = _mm512_add_ps(low, high), fifth = _mm512_set1_ps(x[4]);
                    _mm512_store_ps(tables, _mm512_sub_ps(four, fifth));
                    _mm512_store_ps(tables + 16, _mm512_add_ps(four, fifth));
                }
            for (index v = 0; v < V; ++v, tables += 16) {
                const float* x = values + v * n + block + 30;
                _mm512_store_ps(tables,
                                _mm512_fmadd_ps(s1, _mm512_set1_ps(x[1]), _mm512_mul_ps(s0, _mm512_set1_ps(x[0]))));
            }
        }
    }

    /// G groups of 16 rows.
    template <index G, index V>
    SUBBIT_AVX512 static void sweep(bit_view bits, index group, const float* tables, float* out) {
        const index col_groups = bits.col_groups();
        const line_prefetch prefetch(col_groups, G);
        const std::uint32_t* const first = bits.tile(group, 0);
        // A lookup heeds the low five bits of each lane. The high half of a 16-bit product with 2^(16-s) is a shift
        // right by s, on the multiplier's port rather than on the one that the lookups need.
        const __m512i by5 = _mm512_set1_epi16(1 << 11), by10 = _mm512_set1_epi16(1 << 6);
        const __m512 ones = _mm512_set1_ps(1);
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
                prefetch(tile, c);
            }
#pragma GCC unroll 7
            for (int lookup = 0; lookup < 7; ++lookup) {
                __m512 low[V], high[V];
#pragma GCC unroll 4
                for (index v = 0; v < V; ++v) {
                    const float* table = tables + lookup * V * 32 + v * (lookup < 6 ? 32 : 16);
                    low[v] = _mm512_load_ps(table);
                    high[v] = lookup < 6 ? _mm512_load_ps(table + 16) : low[v];
                }
#pragma GCC unroll 8
                for (index g = 0; g < G; ++g) {
                    if (lookup == 3 || lookup == 6) word[g] = _mm512_srli_epi32(word[g], 15);
                    const __m512i at = lookup % 3 == 0   ? word[g]
                                       : lookup % 3 == 1 ? _mm512_mulhi_epu16(word[g], by5)
                                                         : _mm512_mulhi_epu16(word[g], by10);
#pragma GCC unroll 4
                    for (index v = 0; v < V; ++v) {
                        const __m512 found = lookup < 6 ? _mm512_permutex2var_ps(low[v], at, high[v])
                                                        : _mm512_permutexvar_ps(at, low[v]);
                        // A multiply-add by one is an addition on the multipliers' ports.
                        sum[g][v] =
                            lookup % 3 == 1 ? _mm512_fmadd_ps(found, ones, sum[g][v]) : _mm512_add_ps(sum[g][v], found);
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

/// A lookup in a table of 8 entries, three columns at once: eleven lookups for 8 rows and 32 columns, of which the last
/// has two columns.
struct avx2_triples {
    static constexpr index entries = 8, columns = 3, lookups = 11, rows_at_once = 4;

    /// The lookup heeds the low three bits of each lane.
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 find(const float* table, __m256i at) {
        return _mm256_permutevar8x32_ps(_mm256_load_ps(table), at);
    }
    template <int Lookup>
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256i place(__m256i& word) {
        if constexpr (Lookup == 5 || Lookup == 10) word = _mm256_srli_epi32(word, 15);
        return shifted<3 * (Lookup % 5)>(word);
    }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void build(float* table, const float* x, index columns_left) {
        const __m256 s0 = _mm256_setr_ps(-1, 1, -1, 1, -1, 1, -1, 1), s1 = _mm256_setr_ps(-1, -1, 1, 1, -1, -1, 1, 1),
                     s2 = _mm256_setr_ps(-1, -1, -1, -1, 1, 1, 1, 1);
        const float third = columns_left > 2 ? x[2] : 0.0F;
        const __m256 low = _mm256_fmadd_ps(s1, _mm256_set1_ps(x[1]), _mm256_mul_ps(s0, _mm256_set1_ps(x[0])));
        _mm256_store_ps(table, _mm256_fmadd_ps(s2, _mm256_set1_ps(third), low));
    }
    /// A shift right of 16-bit halves: the high half of the product with 2^(16-s) is on the multiplier's port rather
    /// than on the one that the lookups need.
    template <int Bits>
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256i shifted(__m256i word) {
        return Bits == 0 ? word : _mm256_mulhi_epu16(word, _mm256_set1_epi16(static_cast<short>(1 << (16 - Bits))));
    }
};

/// A lookup in a table of 4 entries, two columns at once: sixteen lookups, each within half a register. On AMD's
/// processors the other kind takes two to three times as long.
struct avx2_pairs {
    static constexpr index entries = 4, columns = 2, lookups = 16, rows_at_once = 6;

    /// The lookup heeds the low two bits of each lane.
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 find(const float* table, __m256i at) {
        return _mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(table)), at);
    }
    template <int Lookup>
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256i place(__m256i& word) {
        if constexpr (Lookup == 8) word = _mm256_srli_epi32(word, 16);
        return avx2_triples::shifted<2 * (Lookup % 8)>(word);
    }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void build(float* table, const float* x, index) {
        const __m128 s0 = _mm_setr_ps(-1, 1, -1, 1), s1 = _mm_setr_ps(-1, -1, 1, 1);
        _mm_store_ps(table, _mm_fmadd_ps(s1, _mm_set1_ps(x[1]), _mm_mul_ps(s0, _mm_set1_ps(x[0]))));
    }
};

/// Rows of 8, by one kind of lookup.
template <class Lookup>
struct avx2_packed_kernel {
    static constexpr index max_groups = 8;

    /// Of every 32 columns the tables of the first lookup, vector by vector, then those of the next.
    template <index V>
    SUBBIT_AVX2 static void build(float* tables, const float* values, index n) {
        for (index block = 0; block < n; block += 32)
            for (index j = 0; j < 32; j += Lookup::columns)
                for (index v = 0; v < V; ++v, tables += Lookup::entries)
                    Lookup::build(tables, values + v * n + block + j, 32 - j);
    }

    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        for_even_runs<V == 1 ? Lookup::rows_at_once : 2>(
            2 * groups, [&](auto run, index at) { sweep<run, V>(bits, 2 * group + at, tables, out + 8 * at); });
    }

  private:
    /// H half tiles of 8 rows.
    template <index H, index V>
    SUBBIT_AVX2 static void sweep(bit_view bits, index half, const float* tables, float* out) {
        __m256 sum[H][V];
#pragma GCC unroll 8
        for (index h = 0; h < H; ++h)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                sum[h][v] = _mm256_setzero_ps();
        for (index c = 0; c < bits.col_groups(); ++c, tables += V * Lookup::lookups * Lookup::entries) {
            __m256i word[H];
#pragma GCC unroll 8
            for (index h = 0; h < H; ++h)
                word[h] = _mm256_loadu_si256(
                    reinterpret_cast<const __m256i*>(bits.tile((half + h) / 2, c) + (half + h) % 2 * 8));
            look_up<H, V>(word, tables, sum, std::make_integer_sequence<int, int{Lookup::lookups}>{});
        }
#pragma GCC unroll 8
        for (index h = 0; h < H; ++h)
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v)
                _mm256_storeu_ps(out + v * 16 * max_groups + 8 * h, sum[h][v]);
    }

    template <index H, index V, int... I>
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void look_up(__m256i (&word)[H], const float* tables,
                                                                  __m256 (&sum)[H][V],
                                                                  std::integer_sequence<int, I...>) {
        (look_up_one<I, H, V>(word, tables, sum), ...);
    }
    template <int I, index H, index V>
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void look_up_one(__m256i (&word)[H], const float* tables,
                                                                      __m256 (&sum)[H][V]) {
        const __m256 ones = _mm256_set1_ps(1);
#pragma GCC unroll 8
        for (index h = 0; h < H; ++h) {
            const __m256i at = Lookup::template place<I>(word[h]);
#pragma GCC unroll 4
            for (index v = 0; v < V; ++v) {
                const __m256 found = Lookup::find(tables + (I * V + v) * Lookup::entries, at);
                // A multiply-add by one is an addition on the multipliers' ports.
                sum[h][v] = I % 3 == 1 ? _mm256_fmadd_ps(found, ones, sum[h][v]) : _mm256_add_ps(sum[h][v], found);
                asm("" : "+x"(sum[h][v]));
            }
        }
    }
};

/// The kind of lookup that is faster on this processor.
template <>
struct packed_kernel<avx2_arch, float> {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 4;
    static constexpr index table_size = avx2_triples::lookups * avx2_triples::entries;

    template <index V>
    static void build(float* tables, const float* values, index n) {
        in_pairs() ? avx2_packed_kernel<avx2_pairs>::build<V>(tables, values, n)
                   : avx2_packed_kernel<avx2_triples>::build<V>(tables, values, n);
    }
    template <index V>
    static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        in_pairs() ? avx2_packed_kernel<avx2_pairs>::sums<V>(bits, group, groups, tables, out)
                   : avx2_packed_kernel<avx2_triples>::sums<V>(bits, group, groups, tables, out);
    }

  private:
    static bool in_pairs() { return is_amd(); }
};

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END

#endif
