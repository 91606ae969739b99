// The blocked matrix product over the panels of gemm_pack.hpp and the kernel of gemm_kernel.hpp.
//
// k is cut into blocks whose size depends on k alone; for each, A and B are packed once, and the blocks of C are shared
// out among the threads. Every element of C is the sum of its k blocks in order, so the result does not depend on the
// number of threads.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_pack.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/thread_pool.hpp>

#include <algorithm>

namespace subbit::cpu_kernels {

/// The sizes of the blocks of C, in rows, columns and panels; Products::most_steps is that of the blocks along k.
struct gemm_blocking {
    static constexpr index rows = 1536;  ///< packed A and
    static constexpr index cols = 1920;  ///< packed B stay in the last-level cache, at most 4 MiB each of float
    static constexpr index tile_a_panels =
        4;  ///< the share of C that a thread takes at a time: its panels of B (at most 0.6 MiB)
    static constexpr index tile_b_panels = 6;   ///< stay in the second-level cache
    static constexpr index pack_panels = 2;     ///< packed at a time
    static constexpr double serial_work = 5e5;  ///< multiply-adds below which threads cost more than they bring
};

constexpr index ceil_div(index a, index b) {
    return (a + b - 1) / b;
}

/// Calls f(begin, end) for the blocks of [0, n): of equal size but for the last, at most `most`, a multiple of `unit`.
template <class F>
void for_blocks(index n, index most, index unit, F&& f) {
    const index size = ceil_div(ceil_div(n, std::max<index>(1, ceil_div(n, most))), unit) * unit;
    for (index at = 0; at < n; at += size)
        f(at, std::min(n, at + size));
}

struct gemm_scratch_a;
struct gemm_scratch_b;

/// What a caller knows of a product, so that no unnecessary part is computed. Zeros of operands must be stored.
enum class gemm_shape {
    full,
    lower_result,  ///< blocks of C that lie wholly above the diagonal keep what they hold
    lower_left,    ///< A(i,k) = 0 for k > i
    lower_right,   ///< B(k,j) = 0 for j > k
    upper_right    ///< B(k,j) = 0 for j < k
};

/// C = alpha A B + beta C; A has m lanes, B n lanes. C must have col_stride 1 or is written through a small copy.
template <class Products, class Arch, class A, class B>
void blocked_gemm(Arch arch, executor ex, index k, const A& a, const B& b, matrix_view<typename Products::real> C,
                  typename Products::real alpha, typename Products::real beta, gemm_shape shape = gemm_shape::full) {
    using kernel = gemm_kernel<Arch, Products>;
    using real = typename Products::real;
    using packed = typename Products::packed;
    using blocking = gemm_blocking;
    constexpr index mr = kernel::mr, nr = kernel::nr, depth = Products::depth;
    ex = ex.when(static_cast<double>(C.rows) * static_cast<double>(C.cols) * static_cast<double>(k),
                 blocking::serial_work);

    const auto tile = [&](index i, index j, index k0, index steps, const packed* pa, const packed* pb, real scale) {
        const index rows = std::min(mr, C.rows - i), cols = std::min(nr, C.cols - j);
        if (shape == gemm_shape::lower_result && j >= i + rows) return;
        if (shape == gemm_shape::lower_right) {
            const index zeros = std::clamp<index>((j - k0) / depth, 0, steps);
            pa += zeros * mr;
            pb += zeros * nr;
            steps -= zeros;
        }
        if (shape == gemm_shape::upper_right) steps = std::clamp<index>(ceil_div(j + cols - k0, depth), 0, steps);
        if (shape == gemm_shape::lower_left) steps = std::clamp<index>(ceil_div(i + rows - k0, depth), 0, steps);
        real* out = C.data + i * C.row_stride + j * C.col_stride;
        if (C.col_stride == 1) return kernel::run(steps, pa, pb, {out, C.row_stride, rows, cols, alpha, scale});
        alignas(64) real copy[static_cast<std::size_t>(mr * nr)];
        kernel::run(steps, pa, pb, {copy, nr, rows, cols, alpha, real(0)});
        for (index r = 0; r < rows; ++r)
            for (index c = 0; c < cols; ++c) {
                real& x = out[r * C.row_stride + c * C.col_stride];
                x = scale == real(0) ? copy[r * nr + c] : copy[r * nr + c] + scale * x;
            }
    };

    for_blocks(k, Products::most_steps * depth, depth, [&](index k0, index k1) {
        const index steps = ceil_div(k1 - k0, depth);
        const real scale = k0 == 0 ? beta : real(1);
        for_blocks(C.rows, blocking::rows, mr, [&](index i0, index i1) {
            const index na = ceil_div(i1 - i0, mr);
            packed* pa = thread_scratch<gemm_scratch_a>().template reserve<packed>(na * mr * steps);
            for_blocks(C.cols, blocking::cols, nr, [&](index j0, index j1) {
                const index nb = ceil_div(j1 - j0, nr), a_left = j0 == 0 ? na : 0;
                packed* pb = thread_scratch<gemm_scratch_b>().template reserve<packed>(nb * nr * steps);
                ex.for_chunks(a_left + nb, blocking::pack_panels, [&](index begin, index end) {
                    if (begin < a_left)
                        pack_panels<mr>(arch, typename Products::left{}, pa + begin * mr * steps, a, i0 + begin * mr,
                                        std::min(i1, i0 + std::min(end, a_left) * mr) - i0 - begin * mr, k0, k1 - k0);
                    if (end > a_left) {
                        const index q = std::max(begin, a_left) - a_left;
                        pack_panels<nr>(arch, typename Products::right{}, pb + q * nr * steps, b, j0 + q * nr,
                                        std::min(j1, j0 + (end - a_left) * nr) - j0 - q * nr, k0, k1 - k0);
                    }
                });
                const index a_tiles = ceil_div(na, blocking::tile_a_panels);
                ex.for_chunks(a_tiles * ceil_div(nb, blocking::tile_b_panels), 1, [&](index t, index) {
                    [[maybe_unused]] const typename kernel::session in_use;
                    const index a0 = t % a_tiles * blocking::tile_a_panels,
                                a1 = std::min(na, a0 + blocking::tile_a_panels);
                    const index b0 = t / a_tiles * blocking::tile_b_panels,
                                b1 = std::min(nb, b0 + blocking::tile_b_panels);
                    for (index p = a0; p < a1; ++p)
                        for (index q = b0; q < b1; ++q)
                            tile(i0 + p * mr, j0 + q * nr, k0, steps, pa + p * mr * steps, pb + q * nr * steps, scale);
                });
            });
        });
    });
}

/// C = beta C, where beta = 0 does not read C.
template <class Real>
void scale_only(matrix_view<Real> C, Real beta) {
    for (index i = 0; i < C.rows; ++i)
        for (index j = 0; j < C.cols; ++j)
            C(i, j) = beta == Real(0) ? Real(0) : beta * C(i, j);
}

/// The dense product: C that is stored by columns is computed as its transpose.
template <class Products, class Arch>
void dense_gemm(Arch arch, executor ex, matrix_view<const typename Products::real> A,
                matrix_view<const typename Products::real> X, matrix_view<typename Products::real> C,
                typename Products::real alpha, typename Products::real beta, gemm_shape shape = gemm_shape::full) {
    using operand = dense_operand<typename Products::real>;
    if (shape == gemm_shape::full && C.col_stride != 1 && C.row_stride == 1)
        return dense_gemm<Products>(arch, ex, X.t(), A.t(), C.t(), alpha, beta);
    if (A.cols == 0) return scale_only(C, beta);
    blocked_gemm<Products>(arch, ex, A.cols, operand{A.data, A.row_stride, A.col_stride},
                           operand{X.data, X.col_stride, X.row_stride}, C, alpha, beta, shape);
}

}  // namespace subbit::cpu_kernels
