// The innermost product: a block of C held in registers, one panel of A times one panel of B.
//
// A panel of A is `mr` rows wide and holds them side by side for each k; a panel of B is `nr` columns wide. Each step
// along k loads nr numbers of B, broadcasts mr numbers of A and adds mr x nr products. The sum over k runs in order and
// in one accumulator for each element of C, so a result depends neither on its place in a panel nor on who computed it.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/backend/cpu/kernels/gemm_products.hpp>

#include <xsimd/xsimd.hpp>

#include <algorithm>

namespace subbit::cpu_kernels {

/// The block of C that one call computes: rows x cols of the mr x nr are stored, C = alpha * A B + beta * C.
template <class Real>
struct gemm_tile {
    Real* data;
    index row_stride;
    index rows;
    index cols;
    Real alpha;
    Real beta;
};

/// gemm_kernel<Arch, Products>: mr, nr, and run(steps, a, b, tile), which is called while a `session` lives in the
/// thread.
template <class Arch, class Products>
struct gemm_kernel;

/// Any processor: batches of the widest instruction set that the compiler was told of.
template <class Products>
struct gemm_kernel<portable_arch, Products> {
    using real = typename Products::real;
    using batch = xsimd::batch<real>;
    struct session {};
    static constexpr index width = static_cast<index>(batch::size);
    static constexpr index mr = 4;
    static constexpr index nr = 2 * width;

    static void run(index steps, const real* a, const real* b, const gemm_tile<real>& c) {
        batch sum[mr][2];
        for (auto& row : sum)
            row[0] = row[1] = batch(real(0));
        for (index p = 0; p < steps; ++p, a += mr, b += nr) {
            const batch b0 = batch::load_unaligned(b), b1 = batch::load_unaligned(b + width);
            for (index i = 0; i < mr; ++i) {
                const batch ai(a[i]);
                sum[i][0] = xsimd::fma(ai, b0, sum[i][0]);
                sum[i][1] = xsimd::fma(ai, b1, sum[i][1]);
            }
        }
        for (index i = 0; i < c.rows; ++i) {
            real row[static_cast<std::size_t>(nr)];
            sum[i][0].store_unaligned(row);
            sum[i][1].store_unaligned(row + width);
            real* out = c.data + i * c.row_stride;
            for (index j = 0; j < c.cols; ++j)
                out[j] = c.beta == real(0) ? c.alpha * row[j] : c.alpha * row[j] + c.beta * out[j];
        }
    }
};

}  // namespace subbit::cpu_kernels
