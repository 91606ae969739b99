// The innermost product on processors with matrix units (AMX), and the packing of its panels: 32 x 32 entries of C are
// four tiles, and one instruction of 16 cycles adds 16 x 32 numbers of A times 32 x 16 of B to a tile.
//
// Numbers are rounded to bfloat16. A step is 32 of them along k. The panel of A holds, for each step, 32 rows of A, and
// that of B 16 pairs of neighbours along k of 32 columns: what bf16_products packs too.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_kernel_x86.hpp>
#include <subbit/backend/cpu/kernels/gemm_pack_x86.hpp>
#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/matrix_units.hpp>

#if SUBBIT_X86
#include <algorithm>
#include <cstdint>

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// The form of the panels of A, whose elements are the rows of tiles.
struct tile_rows {};
/// The form of the panels of B.
struct tile_pairs {};

/// Products of tiles of numbers rounded to bfloat16.
struct tile_products {
    using real = float;
    struct alignas(64) packed {
        std::uint32_t pairs[16];
    };
    using left = tile_rows;
    using right = tile_pairs;
    static constexpr index depth = 32;
    static constexpr index most_steps = 24;  ///< panels of A and B (48 KiB each) stay in the second-level cache
};

/// 2 x 2 tiles: four loads for four products.
template <>
struct gemm_kernel<avx512_arch, tile_products> {
    using packed = tile_products::packed;
    using session = tile_session;
    static constexpr index mr = 32;
    static constexpr index nr = 32;

    static void run(index steps, const packed* a, const packed* b, const gemm_tile<float>& c) {
        if (c.rows > 16)
            c.cols > 16 ? sweep<true, true>(steps, a, b, c) : sweep<true, false>(steps, a, b, c);
        else
            c.cols > 16 ? sweep<false, true>(steps, a, b, c) : sweep<false, false>(steps, a, b, c);
    }

  private:
    template <bool Lower, bool Right>
    SUBBIT_AMX static void sweep(index steps, const packed* a, const packed* b, const gemm_tile<float>& c) {
        clear();
        for (index p = 0; p < steps; ++p, a += mr, b += nr) {
            _tile_loadd(4, a, line);
            _tile_loadd(6, b, two_lines);
            _tile_dpbf16ps(0, 4, 6);
            if constexpr (Right) {
                _tile_loadd(7, b->pairs + 16, two_lines);
                _tile_dpbf16ps(1, 4, 7);
            }
            if constexpr (Lower) {
                _tile_loadd(5, a + 16, line);
                _tile_dpbf16ps(2, 5, 6);
                if constexpr (Right) _tile_dpbf16ps(3, 5, 7);
            }
        }
        if (c.rows == mr && c.cols == nr && c.alpha == 1 && c.beta == 0) return store(c.data, 4 * c.row_stride);
        alignas(64) float sums[mr * nr];
        store(sums, two_lines);
        using floats = gemm_ops<avx512_arch, plain_products<float>>;
        for (index i = 0; i < c.rows; ++i)
            for (index j = 0; j < c.cols; j += 16)
                floats::store(c.data + i * c.row_stride + j, _mm512_load_ps(sums + i * nr + j),
                              std::min<index>(16, c.cols - j), c.alpha, c.beta);
    }

    static constexpr int line = 64, two_lines = 128;

    SUBBIT_AMX static void clear() {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    /// Four tiles as 32 x 32 numbers, `stride` bytes from row to row.
    SUBBIT_AMX static void store(float* to, index stride) {
        float* const below = to + 4 * stride;
        _tile_stored(0, to, stride);
        _tile_stored(1, to + 16, stride);
        _tile_stored(2, below, stride);
        _tile_stored(3, below + 16, stride);
    }
};

/// The first `count` of 16 lanes.
SUBBIT_AVX512 [[gnu::always_inline]] inline __mmask16 first_lanes(index count) {
    return static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(std::clamp<index>(count, 0, 16))));
}

/// k is contiguous in memory: a panel's rows are rounded copies.
template <index W>
SUBBIT_AVX512 void pack_rows_along_k(tile_products::packed* out, const float* in, index lane_stride, index lanes,
                                     index k) {
    for (index p = 0; p < k; p += 32, out += W) {
        const __mmask16 low = first_lanes(k - p), high = first_lanes(k - p - 16);
        for (index l = 0; l < lanes; ++l) {
            const float* const x = in + l * lane_stride + p;
            const __m512 second = high == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(high, x + 16);
            _mm512_store_si512(out + l, (__m512i)_mm512_cvtne2ps_pbh(second, _mm512_maskz_loadu_ps(low, x)));
        }
        for (index l = lanes; l < W; ++l)
            _mm512_store_si512(out + l, _mm512_setzero_si512());
    }
}

/// The lanes are contiguous in memory: transposes of 8 lanes x 8 pairs.
template <index W>
SUBBIT_AVX512 void pack_rows_along_lanes(tile_products::packed* out, const float* in, index k_stride, index lanes,
                                         index k) {
    auto* words = reinterpret_cast<std::uint32_t*>(out);
    for (index p = 0; p < k; p += 32, words += 16 * W)
        for (index l = 0; l < W; l += 16)
            for (index half = 0; half < 16; half += 8) {
                const __mmask16 mask = first_lanes(lanes - l);
                __m256i low[8], high[8];
#pragma GCC unroll 8
                for (index i = 0; i < 8; ++i) {
                    const index at = p + 2 * (half + i);
                    const __m512i pair = at < k && mask != 0 ? avx512_elements<bf16_products>::along_lanes(
                                                                   in + at * k_stride + l, mask, k_stride, k - at)
                                                             : _mm512_setzero_si512();
                    low[i] = _mm512_castsi512_si256(pair);
                    high[i] = _mm512_extracti64x4_epi64(pair, 1);
                }
                transpose_store(low, words + 16 * l + half, 16);
                transpose_store(high, words + 16 * (l + 8) + half, 16);
            }
}

/// Any strides.
template <index W>
void pack_rows_strided(tile_products::packed* out, const float* in, index lane_stride, index k_stride, index lanes,
                       index k) {
    for (index p = 0; p < k; p += 32, out += W)
        for (index l = 0; l < W; ++l)
            for (index i = 0; i < 16; ++i) {
                const index at = p + 2 * i;
                out[l].pairs[i] = l < lanes && at < k
                                      ? bf16_products::pack(in + l * lane_stride + at * k_stride, k_stride, k - at)
                                      : 0;
            }
}

template <index W>
void pack_panels(avx512_arch, tile_rows, tile_products::packed* out, const dense_operand<float>& op, index lane0,
                 index lanes, index k0, index k) {
    const index steps = (k + tile_products::depth - 1) / tile_products::depth;
    for (index l = 0; l < lanes; l += W) {
        const float* in = op.data + (lane0 + l) * op.lane_stride + k0 * op.k_stride;
        const index count = std::min(W, lanes - l);
        if (op.k_stride == 1)
            pack_rows_along_k<W>(out + l * steps, in, op.lane_stride, count, k);
        else if (op.lane_stride == 1)
            pack_rows_along_lanes<W>(out + l * steps, in, op.k_stride, count, k);
        else
            pack_rows_strided<W>(out + l * steps, in, op.lane_stride, op.k_stride, count, k);
    }
}

template <index W>
void pack_panels(avx512_arch arch, tile_pairs, tile_products::packed* out, const dense_operand<float>& op, index lane0,
                 index lanes, index k0, index k) {
    constexpr bf16_products pairs;
    const index steps = (k + tile_products::depth - 1) / tile_products::depth;
    for (index l = 0; l < lanes; l += W) {
        const float* in = op.data + (lane0 + l) * op.lane_stride + k0 * op.k_stride;
        const index count = std::min(W, lanes - l);
        auto* words = reinterpret_cast<std::uint32_t*>(out + l * steps);
        if (op.lane_stride == 1)
            pack_along_lanes<W>(arch, pairs, words, in, op.k_stride, count, k);
        else if (op.k_stride == 1)
            pack_along_k<W>(arch, pairs, words, in, op.lane_stride, count, k);
        else
            pack_strided<W>(pairs, words, op, lane0 + l, count, k0, k);
        std::fill(words + (k + 1) / 2 * W, words + steps * 16 * W, 0U);
    }
}

/// A panel of signs: the lanes are rows, 32 from `row`, and k are columns, in steps of 32 from `col`. Whatever the
/// padding's bits say: A is zero there, or C has no such column.
SUBBIT_AVX512 inline void pack_signs(std::uint32_t* out, bit_view bits, index row, index col, index steps) {
    const __m512i ones = _mm512_set1_epi32(0x3F803F80), low = _mm512_set1_epi32(0x8000),
                  high = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    constexpr int add_and = 0xF8;  // a | (b & c)
    const index first = row / bit_layout::tile_rows, groups = std::min<index>(2, bits.row_groups() - first);
    for (index s = 0; s < steps; ++s, out += 16 * 32)
        for (index g = 0; g < groups; ++g) {
            const __m512i set = _mm512_loadu_si512(bits.tile(first + g, col / bit_layout::tile_cols + s));
            // Set where an entry is -1, and turned until the first bit of a pair is bit 15.
            __m512i minus = _mm512_rol_epi32(_mm512_xor_si512(set, _mm512_set1_epi32(-1)), 15);
            for (index p = 0; p < 16; ++p) {
                const __m512i first_of_pair = _mm512_ternarylogic_epi32(ones, minus, low, add_and);
                _mm512_store_si512(
                    out + p * 32 + g * 16,
                    _mm512_ternarylogic_epi32(first_of_pair, _mm512_rol_epi32(minus, 15), high, add_and));
                minus = _mm512_ror_epi32(minus, 2);
            }
        }
}

/// The same of the transpose: the lanes are columns, 32 from `col`, and k are rows, in steps of 32 from `row`.
SUBBIT_AVX512 inline void pack_transposed_signs(std::uint32_t* out, bit_view bits, index row, index col, index steps) {
    const __m512i plus = _mm512_set1_epi32(0x3F803F80), minus = _mm512_set1_epi32(0x3F80BF80),
                  high = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    for (index s = 0; s < 2 * steps; ++s) {
        const index group = row / bit_layout::tile_rows + s;
        if (group >= bits.row_groups()) {  // the last step's second half
            std::fill_n(out, 8 * 32, 0U);
            return;
        }
        const std::uint32_t* const words = bits.tile(group, col / bit_layout::tile_cols);
        for (index p = 0; p < 16; p += 2, out += 32)
            for (index half = 0; half < 32; half += 16) {
                const __m512i even = _mm512_mask_blend_epi32(static_cast<__mmask16>(words[p] >> half), minus, plus);
                _mm512_store_si512(
                    out + half, _mm512_mask_xor_epi32(even, static_cast<__mmask16>(~words[p + 1] >> half), even, high));
            }
    }
}

template <index W>
void pack_panels(avx512_arch, tile_pairs, tile_products::packed* out, const bit_operand& op, index lane0, index lanes,
                 index k0, index k) {
    static_assert(W == 32 && bit_layout::tile_cols == 32 && bit_layout::tile_rows == 16);
    const index steps = (k + tile_products::depth - 1) / tile_products::depth;
    for (index l = 0; l < lanes; l += W) {
        auto* words = reinterpret_cast<std::uint32_t*>(out + l * steps);
        if (op.transposed)
            pack_transposed_signs(words, op.bits, k0, lane0 + l, steps);
        else
            pack_signs(words, op.bits, lane0 + l, k0, steps);
    }
}

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
#endif
