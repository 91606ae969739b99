// Packing for AVX-512: an element of a panel is 32 bits (a float, or a pair of bfloat16), so one transpose of 8 x 8 of
// those serves an operand that is contiguous along k, and one copy serves one that is contiguous along the lanes.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_pack.hpp>
#include <subbit/backend/cpu/kernels/intrinsics.hpp>

#if SUBBIT_X86
#include <concepts>

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// The products whose packed elements are 32 bits.
template <class Products>
concept word_products = sizeof(typename Products::packed) == 4;

/// How 16 (or 8) packed elements are made from floats.
template <class Products>
struct avx512_elements;

template <>
struct avx512_elements<plain_products<float>> {
    /// Elements 0..7 along k from x, of which `k` values exist.
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m256i along_k(const float* x, index k) {
        const auto mask = static_cast<__mmask8>(_bzhi_u32(0xFFu, static_cast<unsigned>(k)));
        return _mm256_castps_si256(_mm256_maskz_loadu_ps(mask, x));
    }
    /// One step along k of the lanes under the mask; `stride` is from one k to the next, `k` how many exist.
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i along_lanes(const float* x, __mmask16 lanes, index,
                                                                           index) {
        return _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, x));
    }
};

template <>
struct avx512_elements<rounded_products> : avx512_elements<plain_products<float>> {
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i round(__m512i x) {
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
        const __m512i up = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
        const __mmask16 nan = _mm512_cmp_ps_mask(_mm512_castsi512_ps(x), _mm512_castsi512_ps(x), _CMP_UNORD_Q);
        const __m512i quiet = _mm512_or_si512(x, _mm512_set1_epi32(0x00400000));
        return _mm512_and_si512(_mm512_mask_mov_epi32(up, nan, quiet),
                                _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m256i along_k(const float* x, index k) {
        return _mm512_castsi512_si256(
            round(_mm512_castsi256_si512(avx512_elements<plain_products<float>>::along_k(x, k))));
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i along_lanes(const float* x, __mmask16 lanes, index,
                                                                           index) {
        return round(_mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, x)));
    }
};

template <>
struct avx512_elements<bf16_products> {
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m256i along_k(const float* x, index k) {
        const auto mask = static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(k)));
        return (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x));
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i along_lanes(const float* x, __mmask16 lanes,
                                                                           index stride, index k) {
        const auto second = static_cast<__mmask16>(k > 1 ? lanes : 0);
        const auto low = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes, x));
        const auto high = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(second, k > 1 ? x + stride : x));
        return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
    }
};

/// Transposes eight rows of eight words and stores them `stride` words apart.
SUBBIT_AVX512 [[gnu::always_inline]] inline void transpose_store(const __m256i (&row)[8], std::uint32_t* out,
                                                                 index stride) {
    __m256i pair[8], quad[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        pair[2 * i] = _mm256_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
        pair[2 * i + 1] = _mm256_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        quad[4 * i + 0] = _mm256_unpacklo_epi64(pair[4 * i], pair[4 * i + 2]);
        quad[4 * i + 1] = _mm256_unpackhi_epi64(pair[4 * i], pair[4 * i + 2]);
        quad[4 * i + 2] = _mm256_unpacklo_epi64(pair[4 * i + 1], pair[4 * i + 3]);
        quad[4 * i + 3] = _mm256_unpackhi_epi64(pair[4 * i + 1], pair[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * stride),
                            _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x20));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (i + 4) * stride),
                            _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x31));
    }
}

/// The lanes are contiguous in memory: a masked copy.
template <index W, word_products Products>
SUBBIT_AVX512 void pack_along_lanes(avx512_arch, Products, std::uint32_t* out, const float* in, index k_stride,
                                    index lanes, index k) {
    static_assert(W % 16 == 0);
    for (index p = 0; p < k; p += Products::depth, out += W)
        for (index l = 0; l < W; l += 16) {
            const index left = std::clamp<index>(lanes - l, 0, 16);
            const auto mask = static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(left)));
            const float* x = in + p * k_stride + (left == 0 ? 0 : l);
            _mm512_store_si512(out + l, avx512_elements<Products>::along_lanes(x, mask, k_stride, k - p));
        }
}

/// The same for at most two panels of 8 lanes: a cache line of the operand holds both.
template <word_products Products>
SUBBIT_AVX512 void pack_pair_along_lanes(avx512_arch, Products, std::uint32_t* out, const float* in, index k_stride,
                                         index lanes, index k) {
    const auto mask = static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(lanes)));
    std::uint32_t* second = out + (k + Products::depth - 1) / Products::depth * 8;
    for (index p = 0; p < k; p += Products::depth, out += 8, second += 8) {
        const __m512i x = avx512_elements<Products>::along_lanes(in + p * k_stride, mask, k_stride, k - p);
        _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm512_castsi512_si256(x));
        if (lanes > 8) _mm256_store_si256(reinterpret_cast<__m256i*>(second), _mm512_extracti64x4_epi64(x, 1));
    }
}

/// k is contiguous in memory: transposes of 8 lanes x 8 elements.
template <index W, word_products Products>
SUBBIT_AVX512 void pack_along_k(avx512_arch, Products, std::uint32_t* out, const float* in, index lane_stride,
                                index lanes, index k) {
    static_assert(W % 8 == 0);
    constexpr index depth = Products::depth;
    const index steps = (k + depth - 1) / depth;
    for (index l = 0; l < W; l += 8)
        for (index p = 0; p < steps; p += 8) {
            __m256i row[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i)
                row[i] = l + i < lanes ? avx512_elements<Products>::along_k(in + (l + i) * lane_stride + p * depth,
                                                                            std::min<index>(8 * depth, k - p * depth))
                                       : _mm256_setzero_si256();
            std::uint32_t* at = out + p * W + l;
            if (steps - p >= 8) {
                transpose_store(row, at, W);
            } else {
                alignas(32) std::uint32_t copy[64];
                transpose_store(row, copy, 8);
                for (index s = 0; s < steps - p; ++s)
                    std::copy_n(copy + 8 * s, 8, at + s * W);
            }
        }
}

template <index W, word_products Products>
void pack_panels(avx512_arch arch, Products products, typename Products::packed* out, const dense_operand<float>& op,
                 index lane0, index lanes, index k0, index k) {
    const index steps = (k + Products::depth - 1) / Products::depth;
    constexpr index at_once = W == 8 ? 16 : W;
    for (index l = 0; l < lanes; l += op.lane_stride == 1 ? at_once : W) {
        const float* in = op.data + (lane0 + l) * op.lane_stride + k0 * op.k_stride;
        auto* words = reinterpret_cast<std::uint32_t*>(out + l * steps);
        if (op.lane_stride == 1) {
            if constexpr (W == 8)
                pack_pair_along_lanes(arch, products, words, in, op.k_stride, std::min(at_once, lanes - l), k);
            else
                pack_along_lanes<W>(arch, products, words, in, op.k_stride, std::min(W, lanes - l), k);
        } else if (op.k_stride == 1) {
            pack_along_k<W>(arch, products, words, in, op.lane_stride, std::min(W, lanes - l), k);
        } else {
            pack_strided<W>(products, out + l * steps, op, lane0 + l, std::min(W, lanes - l), k0, k);
        }
    }
}

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
#endif
