// Dot products of rows of bytes with 16-bit integers: a widening load, then the multiply-add of neighbours that every
// x86 has (pmaddwd).
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>

#if SUBBIT_X86
#include <immintrin.h>
#endif

namespace subbit::cpu_kernels {

/// dot(w, x, n) = sum_j w_j x_j. Rows are taken one after the other: a stream in the order of memory is what the
/// processor fetches ahead; four rows at once, which share what is read of x, ran at a third of the speed.
template <class Arch>
struct byte_kernel {
    static std::int32_t dot(const std::int8_t* w, const std::int16_t* x, index n) {
        std::int32_t sum = 0;
        for (index j = 0; j < n; ++j)
            sum += w[j] * x[j];
        return sum;
    }
};

#if SUBBIT_X86

/// Asks for the line two pages ahead: what the processor fetches by itself ends with a page, that is often with a row.
inline void prefetch(const std::int8_t* w) {
    _mm_prefetch(reinterpret_cast<const char*>(w) + 8192, _MM_HINT_T1);
}

template <>
struct byte_kernel<avx512_arch> {
    SUBBIT_AVX512 static std::int32_t dot(const std::int8_t* w, const std::int16_t* x, index n) {
        __m512i sum = _mm512_setzero_si512();
        index j = 0;
        for (; j + 32 <= n; j += 32) {
            prefetch(w + j);
            const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + j)));
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(wide, _mm512_loadu_si512(x + j)));
        }
        if (j < n) {
            const auto rest = static_cast<__mmask32>((1u << (n - j)) - 1);
            const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(rest, w + j));
            sum = _mm512_add_epi32(sum, _mm512_madd_epi16(wide, _mm512_maskz_loadu_epi16(rest, x + j)));
        }
        return _mm512_reduce_add_epi32(sum);
    }
};

template <>
struct byte_kernel<avx2_arch> {
    SUBBIT_AVX2 static std::int32_t dot(const std::int8_t* w, const std::int16_t* x, index n) {
        __m256i sums = _mm256_setzero_si256();
        index j = 0;
        for (; j + 16 <= n; j += 16) {
            prefetch(w + j);
            const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w + j))),
                          v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(wide, v));
        }
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
        std::int32_t sum = _mm_cvtsi128_si32(s);
        for (; j < n; ++j)
            sum += w[j] * x[j];
        return sum;
    }
};

#endif

/// y = W x for the rows of W, shared out over the threads.
template <class Arch>
void byte_product(Arch, executor ex, matrix_view<const std::int8_t> W, const std::int16_t* x, std::int32_t* y) {
    constexpr double serial_work = 4e6;  // bytes that are not worth a second thread
    constexpr index chunk_bytes = 1 << 19;
    const index grain = chunk_bytes / std::max<index>(W.cols, 1) + 1;
    ex.when(static_cast<double>(W.size()), serial_work).for_chunks(W.rows, grain, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            y[i] = byte_kernel<Arch>::dot(W.row(i), x, W.cols);
    });
}

}  // namespace subbit::cpu_kernels
