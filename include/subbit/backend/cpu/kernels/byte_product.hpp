// Dot products of rows of bytes with 16-bit integers: a widening load, then the multiply-add of neighbours that every
// x86 has (pmaddwd); on ARM long multiply-adds, or the sums of four products of bytes.
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/kernels/line_prefetch.hpp>
#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>

#if SUBBIT_ARM
#include <arm_neon.h>
#endif

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// dots<R>(w, x, y): y_i = sum_j w_ij x_j for the R rows of w, at most rows_at_once.
template <class Arch>
struct byte_kernel {
    static constexpr index rows_at_once = 1;

    template <index R>
    static void dots(matrix_view<const std::int8_t> w, const std::int16_t* x, std::int32_t* y) {
        const std::int8_t* row = w.row(0);
        std::int32_t sum = 0;
        for (index j = 0; j < w.cols; ++j)
            sum += row[j] * x[j];
        *y = sum;
    }
};

#if SUBBIT_X86

/// Eight rows side by side keep more lines on their way from memory than one row after the other.
template <>
struct byte_kernel<avx512_arch> {
    static constexpr index rows_at_once = 8;

    template <index R>
    SUBBIT_AVX512 static void dots(matrix_view<const std::int8_t> w, const std::int16_t* x, std::int32_t* y) {
        const line_prefetch prefetch(w.row_stride / 64, R);
        const index n = w.cols;
        __m512i sum[R] = {};
        index j = 0;
        for (; j + 32 <= n; j += 32) {
            const __m512i some = _mm512_loadu_si512(x + j);
#pragma GCC unroll 8
            for (index i = 0; i < R; ++i) {
                const std::int8_t* at = w.row(i) + j;
                prefetch(at, j / 64);
                const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
                sum[i] = _mm512_add_epi32(sum[i], _mm512_madd_epi16(wide, some));
            }
        }
        const auto rest = static_cast<__mmask32>((1u << (n - j)) - 1);
        const __m512i last = _mm512_maskz_loadu_epi16(rest, x + j);
#pragma GCC unroll 8
        for (index i = 0; i < R; ++i) {
            const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(rest, w.row(i) + j));
            y[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(sum[i], _mm512_madd_epi16(wide, last)));
        }
    }
};

template <>
struct byte_kernel<avx2_arch> {
    static constexpr index rows_at_once = 8;

    template <index R>
    SUBBIT_AVX2 static void dots(matrix_view<const std::int8_t> w, const std::int16_t* x, std::int32_t* y) {
        const line_prefetch prefetch(w.row_stride / 64, R);
        const index n = w.cols;
        __m256i sums[R] = {};
        index j = 0;
        for (; j + 16 <= n; j += 16) {
            const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
#pragma GCC unroll 8
            for (index i = 0; i < R; ++i) {
                const std::int8_t* at = w.row(i) + j;
                prefetch(at, j / 64);
                const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
                sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(wide, some));
            }
        }
        for (index i = 0; i < R; ++i) {
            __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums[i]), _mm256_extracti128_si256(sums[i], 1));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
            y[i] = _mm_cvtsi128_si32(s);
            for (index k = j; k < n; ++k)
                y[i] += w.row(i)[k] * x[k];
        }
    }
};

#endif

#if SUBBIT_ARM

template <>
struct byte_kernel<neon_arch> {
    static constexpr index rows_at_once = 1;

    template <index R>
    static void dots(matrix_view<const std::int8_t> rows, const std::int16_t* x, std::int32_t* y) {
        const std::int8_t* w = rows.row(0);
        const index n = rows.cols;
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
        *y = sum;
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

/// dots(rows first.. of W, first) for all rows, shared out over the threads by multiples of RowsAtOnce.
template <index RowsAtOnce, class Dots>
void for_byte_rows(executor ex, matrix_view<const std::int8_t> W, Dots&& dots) {
    constexpr double serial_work = 4e6;  // bytes that are not worth a second thread
    constexpr index chunk_bytes = 1 << 19;
    const index grain = (chunk_bytes / std::max<index>(W.cols, 1) / RowsAtOnce + 1) * RowsAtOnce;
    ex.when(static_cast<double>(W.size()), serial_work).for_chunks(W.rows, grain, [&](index begin, index end) {
        dots(W.middle_rows(begin, end - begin), begin);
    });
}

/// y = W x.
template <class Arch>
void byte_product(Arch, executor ex, matrix_view<const std::int8_t> W, const std::int16_t* x, std::int32_t* y) {
    using kernel = byte_kernel<Arch>;
    for_byte_rows<kernel::rows_at_once>(ex, W, [&](matrix_view<const std::int8_t> rows, index first) {
        for_even_runs<kernel::rows_at_once>(rows.rows, [&](auto count, index at) {
            kernel::template dots<count>(rows.middle_rows(at, count), x, y + first + at);
        });
    });
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
    for_byte_rows<1>(ex, W, [&](matrix_view<const std::int8_t> rows, index first) {
        for (index i = 0; i < rows.rows; ++i)
            y[first + i] = kernel::dot(rows.row(i), high, low, W.cols);
    });
}

#endif

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
