// The innermost product for AVX-512 and AVX2: what gemm_kernel.hpp says, in intrinsics. The two sweeps are the same
// text; a target attribute cannot be a template's argument.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_kernel.hpp>
#include <subbit/backend/cpu/kernels/intrinsics.hpp>

#if SUBBIT_X86
SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

/// The register operations that a sweep is written in: width, zero, load_b, load_a, add_product, store.
template <class Arch, class Products>
struct gemm_ops;

template <>
struct gemm_ops<avx512_arch, plain_products<float>> {
    static constexpr index width = 16;
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 zero() { return _mm512_setzero_ps(); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 load_b(const float* p) { return _mm512_load_ps(p); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 load_a(const float* p) { return _mm512_set1_ps(*p); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 add_product(__m512 a, __m512 b, __m512 sum) {
        return _mm512_fmadd_ps(a, b, sum);
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline void store(float* out, __m512 sum, index count, float alpha,
                                                                  float beta) {
        const auto mask = static_cast<__mmask16>(_bzhi_u32(0xFFFFu, static_cast<unsigned>(count)));
        sum = _mm512_mul_ps(_mm512_set1_ps(alpha), sum);
        if (beta != 0) sum = _mm512_fmadd_ps(_mm512_set1_ps(beta), _mm512_maskz_loadu_ps(mask, out), sum);
        _mm512_mask_storeu_ps(out, mask, sum);
    }
};

template <>
struct gemm_ops<avx512_arch, rounded_products> : gemm_ops<avx512_arch, plain_products<float>> {};

template <>
struct gemm_ops<avx512_arch, bf16_products> : gemm_ops<avx512_arch, plain_products<float>> {
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i load_b(const std::uint32_t* p) {
        return _mm512_load_si512(p);
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512i load_a(const std::uint32_t* p) {
        __m512i a = _mm512_set1_epi32(static_cast<int>(*p));
#if defined(__clang__)
        asm("" : "+v"(a));  // clang 16 crashes where it folds a broadcast into a bfloat16 product
#endif
        return a;
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512 add_product(__m512i a, __m512i b, __m512 sum) {
        return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
    }
};

template <>
struct gemm_ops<avx512_arch, plain_products<double>> {
    static constexpr index width = 8;
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512d zero() { return _mm512_setzero_pd(); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512d load_b(const double* p) { return _mm512_load_pd(p); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512d load_a(const double* p) { return _mm512_set1_pd(*p); }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline __m512d add_product(__m512d a, __m512d b, __m512d sum) {
        return _mm512_fmadd_pd(a, b, sum);
    }
    SUBBIT_AVX512 [[gnu::always_inline]] static inline void store(double* out, __m512d sum, index count, double alpha,
                                                                  double beta) {
        const auto mask = static_cast<__mmask8>(_bzhi_u32(0xFFu, static_cast<unsigned>(count)));
        sum = _mm512_mul_pd(_mm512_set1_pd(alpha), sum);
        if (beta != 0) sum = _mm512_fmadd_pd(_mm512_set1_pd(beta), _mm512_maskz_loadu_pd(mask, out), sum);
        _mm512_mask_storeu_pd(out, mask, sum);
    }
};

template <>
struct gemm_ops<avx2_arch, plain_products<float>> {
    static constexpr index width = 8;
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 zero() { return _mm256_setzero_ps(); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 load_b(const float* p) { return _mm256_load_ps(p); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 load_a(const float* p) { return _mm256_set1_ps(*p); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256 add_product(__m256 a, __m256 b, __m256 sum) {
        return _mm256_fmadd_ps(a, b, sum);
    }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void store(float* out, __m256 sum, index count, float alpha,
                                                                float beta) {
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lanes);
        sum = _mm256_mul_ps(_mm256_set1_ps(alpha), sum);
        if (beta != 0) sum = _mm256_fmadd_ps(_mm256_set1_ps(beta), _mm256_maskload_ps(out, mask), sum);
        _mm256_maskstore_ps(out, mask, sum);
    }
};

template <>
struct gemm_ops<avx2_arch, rounded_products> : gemm_ops<avx2_arch, plain_products<float>> {};

template <>
struct gemm_ops<avx2_arch, plain_products<double>> {
    static constexpr index width = 4;
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256d zero() { return _mm256_setzero_pd(); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256d load_b(const double* p) { return _mm256_load_pd(p); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256d load_a(const double* p) { return _mm256_set1_pd(*p); }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline __m256d add_product(__m256d a, __m256d b, __m256d sum) {
        return _mm256_fmadd_pd(a, b, sum);
    }
    SUBBIT_AVX2 [[gnu::always_inline]] static inline void store(double* out, __m256d sum, index count, double alpha,
                                                                double beta) {
        const __m256i lanes = _mm256_setr_epi64x(0, 1, 2, 3);
        const __m256i mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), lanes);
        sum = _mm256_mul_pd(_mm256_set1_pd(alpha), sum);
        if (beta != 0) sum = _mm256_fmadd_pd(_mm256_set1_pd(beta), _mm256_maskload_pd(out, mask), sum);
        _mm256_maskstore_pd(out, mask, sum);
    }
};

/// 8 x 48 (float) or 8 x 24 (double): 24 accumulators, 3 registers of B and a broadcast; 11 loads for 24 multiply-adds.
template <class Products>
struct gemm_kernel<avx512_arch, Products> {
    using ops = gemm_ops<avx512_arch, Products>;
    using real = typename Products::real;
    using packed = typename Products::packed;
    struct session {};
    static constexpr index mr = 8;
    static constexpr index nr = 3 * ops::width;

    static void run(index steps, const packed* a, const packed* b, const gemm_tile<real>& c) {
        if (c.cols > 2 * ops::width)
            sweep<3>(steps, a, b, c);
        else if (c.cols > ops::width)
            sweep<2>(steps, a, b, c);
        else
            sweep<1>(steps, a, b, c);
    }

  private:
    template <int Cols>
    SUBBIT_AVX512 static void sweep(index steps, const packed* a, const packed* b, const gemm_tile<real>& c) {
        decltype(ops::zero()) sum[mr][Cols];
#pragma GCC unroll 8
        for (int i = 0; i < mr; ++i)
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                sum[i][j] = ops::zero();
        for (index p = 0; p < steps; ++p, a += mr, b += nr) {
            decltype(ops::load_b(b)) b_row[Cols];
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                b_row[j] = ops::load_b(b + j * ops::width);
#pragma GCC unroll 8
            for (int i = 0; i < mr; ++i) {
                const auto a_i = ops::load_a(a + i);
#pragma GCC unroll 3
                for (int j = 0; j < Cols; ++j)
                    sum[i][j] = ops::add_product(a_i, b_row[j], sum[i][j]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < mr; ++i) {
            if (i >= c.rows) break;
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                ops::store(c.data + i * c.row_stride + j * ops::width, sum[i][j],
                           std::min<index>(ops::width, c.cols - j * ops::width), c.alpha, c.beta);
        }
    }
};

/// 4 x 24 (float) or 4 x 12 (double): 12 accumulators, 3 registers of B and a broadcast.
template <class Products>
struct gemm_kernel<avx2_arch, Products> {
    using ops = gemm_ops<avx2_arch, Products>;
    using real = typename Products::real;
    using packed = typename Products::packed;
    struct session {};
    static constexpr index mr = 4;
    static constexpr index nr = 3 * ops::width;

    static void run(index steps, const packed* a, const packed* b, const gemm_tile<real>& c) {
        if (c.cols > 2 * ops::width)
            sweep<3>(steps, a, b, c);
        else if (c.cols > ops::width)
            sweep<2>(steps, a, b, c);
        else
            sweep<1>(steps, a, b, c);
    }

  private:
    template <int Cols>
    SUBBIT_AVX2 static void sweep(index steps, const packed* a, const packed* b, const gemm_tile<real>& c) {
        decltype(ops::zero()) sum[mr][Cols];
#pragma GCC unroll 4
        for (int i = 0; i < mr; ++i)
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                sum[i][j] = ops::zero();
        for (index p = 0; p < steps; ++p, a += mr, b += nr) {
            decltype(ops::load_b(b)) b_row[Cols];
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                b_row[j] = ops::load_b(b + j * ops::width);
#pragma GCC unroll 4
            for (int i = 0; i < mr; ++i) {
                const auto a_i = ops::load_a(a + i);
#pragma GCC unroll 3
                for (int j = 0; j < Cols; ++j)
                    sum[i][j] = ops::add_product(a_i, b_row[j], sum[i][j]);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < mr; ++i) {
            if (i >= c.rows) break;
#pragma GCC unroll 3
            for (int j = 0; j < Cols; ++j)
                ops::store(c.data + i * c.row_stride + j * ops::width, sum[i][j],
                           std::min<index>(ops::width, c.cols - j * ops::width), c.alpha, c.beta);
        }
    }
};

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
#endif
