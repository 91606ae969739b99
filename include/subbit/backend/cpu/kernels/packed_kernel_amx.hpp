// A kernel of packed_kernel.hpp for many vectors, on processors with matrix units (AMX): 16 rows x 64 columns of signs
// times 16 vectors of bytes are one instruction of 16 cycles, where tables take some 250 for float.
//
// A vector x is rounded to integers of 24 bits, of which its largest entry takes all, and each is the sum of three
// signed bytes, its digits. The sums of every digit are exact, so a result depends on nothing but x and the signs. It
// is off by less than sqrt(n) * 4e-8 of the norm of x times sqrt(rows): 2.5e-6 at 4096 columns if one entry is nearly
// all of x, 2e-7 where entries are normally distributed, a third of a float sum's error.
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_x86.hpp>
#include <subbit/backend/cpu/matrix_units.hpp>

#if SUBBIT_X86
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// Tiles of vectors are 16 vectors x 64 columns of one digit, tiles of signs 64 columns x 16 rows, a bit a byte: twice
/// the sum over the bits that are set, less the sum of all, is the sum with signs. In every half of 32 columns p, p +
/// 8, p + 16 and p + 24 are neighbours: then one shift moves the bits of all four into place.
struct amx_kernel {
    static constexpr bool has_tables = true;
    static constexpr index max_groups = 8;
    static constexpr index max_vectors = 16;
    static constexpr index digits = 3;
    static constexpr index table_size = 52;  // 24, and for one column group of 32 also the other half and the head

    template <index V>
    SUBBIT_AMX static void build(float* tables, const float* values, index n) {
        static_assert(V == max_vectors);
        auto* const head = reinterpret_cast<table_head*>(tables);
        for (index v = 0; v < V; ++v) {
            const float* const x = values + v * n;
            const float inverse = set_scale(x, n, head->scale[v]);
            __m512i sums[digits] = {};
            auto* row = reinterpret_cast<std::int8_t*>(head + 1) + v * 64;
            for (index j = 0; j < n; j += 64, row += digits * tile_bytes)
                split(x + j, std::min<index>(n - j, 64), inverse, row, sums);
            for (index d = 0; d < digits; ++d)
                head->sums[d][v] = _mm512_reduce_add_epi32(sums[d]);
        }
    }

    template <index V>
    SUBBIT_AMX static void sums(bit_view bits, index group, index groups, const float* tables, float* out) {
        static_assert(V == max_vectors);
        const tile_session tiles;
        const auto& head = *reinterpret_cast<const table_head*>(tables);
        index g = 0;
        for (; g + 2 <= groups; g += 2)
            sweep<2>(bits, group + g, head, out + 16 * g);
        if (g < groups) sweep<1>(bits, group + g, head, out + 16 * g);
    }

  private:
    static constexpr index tile_bytes = 1024, tile_words = 256;

    /// What a unit of every vector is worth, and the sums of its digits; then tiles follow, three for 64 columns.
    struct table_head {
        float scale[max_vectors];
        std::int32_t sums[digits][max_vectors];
    };
    static_assert(sizeof(table_head) == 256);

    /// Sets `scale` to the value of one unit, NaN where x is not finite; returns units per value.
    SUBBIT_AMX static float set_scale(const float* x, index n, float& scale) {
        constexpr float most = 127 * 65536 + 127 * 256 + 126;  // one less than three signed bytes hold: x is rounded
        __m512 largest = _mm512_setzero_ps(), poison = _mm512_setzero_ps();
        for (index j = 0; j < n; j += 16) {
            const __m512 some = _mm512_loadu_ps(x + j);
            poison = _mm512_add_ps(poison, _mm512_sub_ps(some, some));
            largest = _mm512_max_ps(largest, _mm512_abs_ps(some));
        }
        const float top = _mm512_reduce_max_ps(largest);
        constexpr float tiny = 1e-30F;
        scale = (top < tiny ? 0 : top / most) + _mm512_reduce_add_ps(poison);
        return top < tiny ? 0 : most / top;
    }

    /// The digits of x[0..count), 32 or 64 numbers, each as a row of its tile; adds them to `sums`.
    SUBBIT_AMX static void split(const float* x, index count, float inverse, std::int8_t* row, __m512i* sums) {
        alignas(64) std::int8_t digit[digits][64] = {};
        for (index j = 0; j < count; j += 16) {
            __m512i left = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + j), _mm512_set1_ps(inverse)));
            for (index d = 0; d < digits; ++d) {
                const __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(left, 24), 24);
                _mm_store_si128(reinterpret_cast<__m128i*>(digit[d] + j), _mm512_cvtepi32_epi8(low));
                sums[d] = _mm512_add_epi32(sums[d], low);
                left = _mm512_srai_epi32(_mm512_sub_epi32(left, low), 8);
            }
        }
        alignas(64) static constexpr auto order = [] {
            std::array<std::int8_t, 64> at{};
            for (std::size_t k = 0; k < 64; ++k)
                at[k] = static_cast<std::int8_t>(k / 32 * 32 + k % 4 * 8 + k % 32 / 4);
            return at;
        }();
        const __m512i to = _mm512_load_si512(order.data());
        for (index d = 0; d < digits; ++d)
            _mm512_store_si512(row + d * tile_bytes, _mm512_permutexvar_epi8(to, _mm512_load_si512(digit[d])));
    }

    /// Half a tile: row p has the bits of columns p, p + 8, p + 16 and p + 24 of 16 rows of signs.
    SUBBIT_AMX static void unpack(const std::uint32_t* words, std::uint32_t* to) {
        const __m512i bits = _mm512_loadu_si512(words), first = _mm512_set1_epi32(0x01010101);
#pragma GCC unroll 8
        for (unsigned p = 0; p < 8; ++p)
            _mm512_store_si512(to + 16 * p, _mm512_and_si512(_mm512_srli_epi32(bits, p), first));
    }

    /// A tile of signs, of which the second half may be missing: then no digit there is other than zero.
    SUBBIT_AMX static void unpack_tile(bit_view bits, const line_prefetch& prefetch, index group, index col_group,
                                       std::uint32_t* to) {
        for (index half = 0; half < std::min<index>(2, bits.col_groups() - col_group); ++half) {
            const std::uint32_t* const words = bits.tile(group, col_group + half);
            prefetch(words, col_group + half);
            unpack(words, to + half * tile_words / 2);
        }
    }

    /// A tile cannot be loaded from stores that are still under way, so signs are unpacked some tiles ahead.
    static constexpr index slots = 8;
    static constexpr index ahead = 3;
    template <index G>
    SUBBIT_AMX static void unpack_tiles(bit_view bits, const line_prefetch& prefetch, index group, index c,
                                        std::uint32_t (*signs)[G][tile_words]) {
        if (c >= bits.col_groups()) return;
        for (index g = 0; g < G; ++g)
            unpack_tile(bits, prefetch, group + g, c, signs[c / 2 % slots][g]);
    }

    /// One or two groups of 16 rows. Tiles 0 to 2, and 3 to 5, have the sums of the digits.
    template <index G>
    SUBBIT_AMX static void sweep(bit_view bits, index group, const table_head& head, float* out) {
        const index col_groups = bits.col_groups();
        const line_prefetch prefetch(col_groups, G);
        alignas(64) std::uint32_t signs[slots][G][tile_words];
        const auto* digit = reinterpret_cast<const std::int8_t*>(&head + 1);
        for (index c = 0; c < 2 * ahead; c += 2)
            unpack_tiles<G>(bits, prefetch, group, c, signs);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
        for (index c = 0; c < col_groups; c += 2, digit += digits * tile_bytes) {
            unpack_tiles<G>(bits, prefetch, group, c + 2 * ahead, signs);
            const auto& now = signs[c / 2 % slots];
            _tile_loadd(6, now[0], 64);
            _tile_loadd(7, digit, 64);
            _tile_dpbssd(0, 7, 6);
            _tile_loadd(7, digit + tile_bytes, 64);
            _tile_dpbssd(1, 7, 6);
            _tile_loadd(7, digit + 2 * tile_bytes, 64);
            _tile_dpbssd(2, 7, 6);
            if constexpr (G == 2) {
                _tile_loadd(6, now[1], 64);
                _tile_dpbssd(5, 7, 6);
                _tile_loadd(7, digit + tile_bytes, 64);
                _tile_dpbssd(4, 7, 6);
                _tile_loadd(7, digit, 64);
                _tile_dpbssd(3, 7, 6);
            }
        }
        alignas(64) std::int32_t found[digits][256];
        _tile_stored(0, found[0], 64);
        _tile_stored(1, found[1], 64);
        _tile_stored(2, found[2], 64);
        combine(found, head, out);
        if constexpr (G == 2) {
            _tile_stored(3, found[0], 64);
            _tile_stored(4, found[1], 64);
            _tile_stored(5, found[2], 64);
            combine(found, head, out + 16);
        }
    }

    /// 16 rows of the product from the sums over set bits, (vectors, rows) for each digit.
    SUBBIT_AMX static void combine(const std::int32_t (*found)[256], const table_head& head, float* out) {
        for (index v = 0; v < max_vectors; ++v) {
            __m512 sum = _mm512_setzero_ps();
            for (index d = digits - 1; d >= 0; --d) {
                const __m512i set = _mm512_load_si512(found[d] + 16 * v);
                const __m512i all = _mm512_sub_epi32(_mm512_add_epi32(set, set), _mm512_set1_epi32(head.sums[d][v]));
                sum = _mm512_fmadd_ps(sum, _mm512_set1_ps(256), _mm512_cvtepi32_ps(all));
            }
            _mm512_storeu_ps(out + v * 16 * max_groups, _mm512_mul_ps(sum, _mm512_set1_ps(head.scale[v])));
        }
    }
};

template <>
struct fewer_vectors<amx_kernel> {
    using kernel = packed_kernel<avx512_arch, float>;
};

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END

#endif
