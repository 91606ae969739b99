// Dot products of rows of bytes with 16-bit integers: a widening load, then the multiply-add of neighbours that every
// x86 has (pmaddwd); on ARM long multiply-adds, or the sums of four products of bytes.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>

#if SUBBIT_X86
#include <immintrin.h>
#endif
#if SUBBIT_ARM
#include <arm_neon.h>
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

#if SUBBIT_ARM

template <>
struct byte_kernel<neon_arch> {
    static std::int32_t dot(const std::int8_t* w, const std::int16_t* x, index n) {
        int32x4_t sums[4] = {};
        index j = 0;
        for (; j + 16 <= n; j += 16) {
            const int8x16_t bytes = vld1q_s8(w + j);
            const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes), x_low = vld1q_s16(x + j),
                            x_high = vld1q_s16(x + j + 8);
            sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(x_low));
            sums[1] = vmlal_high_s16(sums[1], low, x_low);
            sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(x_high));
            sums[3] = vmlal_high_s16(sums[3], high, x_high);
        }
        std::int32_t sum = vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])));
        for (; j < n; ++j)
            sum += w[j] * x[j];
        return sum;
    }
};

/// x = 256 high + low, both bytes with a sign; x is at most 32639 then.
template <>
struct byte_kernel<dotprod_arch> {
    static constexpr std::int16_t most = 127 * 256 + 127;

    static void split(const std::int16_t* x, index n, std::int8_t* high, std::int8_t* low) {
        for (index j = 0; j < n; ++j) {
            low[j] = static_cast<std::int8_t>(x[j] & 255);
            high[j] = static_cast<std::int8_t>((x[j] - low[j]) >> 8);
        }
    }

    /// sum += the products of 16 bytes.
    SUBBIT_DOTPROD [[gnu::always_inline]] static void add(int32x4_t& sum, int8x16_t w, const std::int8_t* digits) {
        sum = vdotq_s32(sum, w, vld1q_s8(digits));
    }

    SUBBIT_DOTPROD static std::int32_t dot(const std::int8_t* w, const std::int8_t* high, const std::int8_t* low,
                                           index n) {
        int32x4_t high_sum[4] = {}, low_sum[4] = {};  // enough that none waits for its own addition
        index j = 0;
        for (; j + 64 <= n; j += 64)
#pragma GCC unroll 4
            for (index at = 0; at < 4; ++at) {
                const int8x16_t bytes = vld1q_s8(w + j + 16 * at);
                add(high_sum[at], bytes, high + j + 16 * at);
                add(low_sum[at], bytes, low + j + 16 * at);
            }
        for (; j + 16 <= n; j += 16) {
            const int8x16_t bytes = vld1q_s8(w + j);
            add(high_sum[0], bytes, high + j);
            add(low_sum[0], bytes, low + j);
        }
        const auto total = [](const int32x4_t(&part)[4]) {
            return vaddq_s32(vaddq_s32(part[0], part[1]), vaddq_s32(part[2], part[3]));
        };
        // Modulo 2^32: the whole sum is in range, 256 times the high one need not be.
        const int32x4_t sums = vaddq_s32(vshlq_n_s32(total(high_sum), 8), total(low_sum));
        auto sum = static_cast<std::uint32_t>(vaddvq_s32(sums));
        for (; j < n; ++j)
            sum += static_cast<std::uint32_t>(w[j] * (256 * high[j] + low[j]));
        return static_cast<std::int32_t>(sum);
    }
};

#endif

/// y_i = dot(row i of W), shared out over the threads.
template <class Dot>
void for_byte_rows(executor ex, matrix_view<const std::int8_t> W, std::int32_t* y, Dot&& dot) {
    constexpr double serial_work = 4e6;  // bytes that are not worth a second thread
    constexpr index chunk_bytes = 1 << 19;
    const index grain = chunk_bytes / std::max<index>(W.cols, 1) + 1;
    ex.when(static_cast<double>(W.size()), serial_work).for_chunks(W.rows, grain, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            y[i] = dot(W.row(i));
    });
}

/// y = W x.
template <class Arch>
void byte_product(Arch, executor ex, matrix_view<const std::int8_t> W, const std::int16_t* x, std::int32_t* y) {
    for_byte_rows(ex, W, y, [&](const std::int8_t* row) { return byte_kernel<Arch>::dot(row, x, W.cols); });
}

#if SUBBIT_ARM

struct byte_digits_scratch;

inline void byte_product(dotprod_arch, executor ex, matrix_view<const std::int8_t> W, const std::int16_t* x,
                         std::int32_t* y) {
    using kernel = byte_kernel<dotprod_arch>;
    if (std::any_of(x, x + W.cols, [](std::int16_t value) { return value > kernel::most; }))
        return byte_product(neon_arch{}, ex, W, x, y);
    auto* high = thread_scratch<byte_digits_scratch>().reserve<std::int8_t>(2 * W.cols);
    auto* low = high + W.cols;
    kernel::split(x, W.cols, high, low);
    for_byte_rows(ex, W, y, [&](const std::int8_t* row) { return kernel::dot(row, high, low, W.cols); });
}

#endif

}  // namespace subbit::cpu_kernels
