// Dot products of rows of bytes with 16-bit integers: a widening load, then the multiply-add of neighbours that every
// x86 has (pmaddwd), four rows at a time so that x is loaded once for them.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>

#if SUBBIT_X86
#include <immintrin.h>
#endif

namespace subbit {

/// rows<R>(w, stride, n, x, y): y_r = sum_j w[r * stride + j] x_j for R rows.
template <class Arch>
struct byte_kernel {
    template <index R>
    static void rows(const std::int8_t* w, index stride, index n, const std::int16_t* x, std::int32_t* y) {
        for (index r = 0; r < R; ++r) {
            const std::int8_t* const row = w + r * stride;
            std::int32_t sum = 0;
            for (index j = 0; j < n; ++j)
                sum += row[j] * x[j];
            y[r] = sum;
        }
    }
};

#if SUBBIT_X86

template <>
struct byte_kernel<avx512_arch> {
    template <index R>
    SUBBIT_AVX512 static void rows(const std::int8_t* w, index stride, index n, const std::int16_t* x,
                                   std::int32_t* y) {
        __m512i sum[R];
#pragma GCC unroll 4
        for (index r = 0; r < R; ++r)
            sum[r] = _mm512_setzero_si512();
        index j = 0;
        for (; j + 32 <= n; j += 32) {
            const __m512i v = _mm512_loadu_si512(x + j);
#pragma GCC unroll 4
            for (index r = 0; r < R; ++r) {
                const auto* bytes = reinterpret_cast<const __m256i*>(w + r * stride + j);
                const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(bytes));
                sum[r] = _mm512_add_epi32(sum[r], _mm512_madd_epi16(wide, v));
            }
        }
        if (j < n) {
            const auto rest = static_cast<__mmask32>((1u << (n - j)) - 1);
            const __m512i v = _mm512_maskz_loadu_epi16(rest, x + j);
#pragma GCC unroll 4
            for (index r = 0; r < R; ++r) {
                const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(rest, w + r * stride + j));
                sum[r] = _mm512_add_epi32(sum[r], _mm512_madd_epi16(wide, v));
            }
        }
#pragma GCC unroll 4
        for (index r = 0; r < R; ++r)
            y[r] = _mm512_reduce_add_epi32(sum[r]);
    }
};

template <>
struct byte_kernel<avx2_arch> {
    template <index R>
    SUBBIT_AVX2 static void rows(const std::int8_t* w, index stride, index n, const std::int16_t* x, std::int32_t* y) {
        __m256i sum[R];
#pragma GCC unroll 4
        for (index r = 0; r < R; ++r)
            sum[r] = _mm256_setzero_si256();
        index j = 0;
        for (; j + 16 <= n; j += 16) {
            const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
#pragma GCC unroll 4
            for (index r = 0; r < R; ++r) {
                const auto* bytes = reinterpret_cast<const __m128i*>(w + r * stride + j);
                const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(bytes));
                sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(wide, v));
            }
        }
#pragma GCC unroll 4
        for (index r = 0; r < R; ++r) {
            __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sum[r]), _mm256_extracti128_si256(sum[r], 1));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
            y[r] = _mm_cvtsi128_si32(s);
            for (index k = j; k < n; ++k)
                y[r] += w[r * stride + k] * x[k];
        }
    }
};

#endif

/// y = W x for the rows of W, shared out over the threads.
template <class Arch>
void byte_product(Arch, executor ex, matrix_view<const std::int8_t> W, const std::int16_t* x, std::int32_t* y) {
    using kernel = byte_kernel<Arch>;
    constexpr index together = 4;
    constexpr double serial_work = 4e6;  // bytes that are not worth a second thread
    constexpr index chunk_bytes = 1 << 19;
    const index grain = std::max<index>(together, chunk_bytes / std::max<index>(W.cols, 1) / together * together);
    ex.when(static_cast<double>(W.size()), serial_work).for_chunks(W.rows, grain, [&](index begin, index end) {
        index i = begin;
        for (; i + together <= end; i += together)
            kernel::template rows<together>(W.row(i), W.row_stride, W.cols, x, y + i);
        for (; i < end; ++i)
            kernel::template rows<1>(W.row(i), W.row_stride, W.cols, x, y + i);
    });
}

}  // namespace subbit
