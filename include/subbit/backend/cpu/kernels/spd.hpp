// Symmetric positive definite systems from the right, R G^-1, built on the blocked product.
//
// With G = L L^T and the triangle's inverse I = L^-1, R G^-1 = (R I^T) I: two products as large as R that skip the
// triangle's zeros, instead of substitution, which is a chain of small ones. L is factored and inverted in one
// recursion that halves the matrix, in double at the leaves. Inverting the triangle loses no accuracy that matters: its
// error grows with the condition number of L, which is the square root of G's.
#pragma once

#include <subbit/backend/cpu/kernels/gemm.hpp>
#include <subbit/backend/cpu/kernels/simd_loop.hpp>
#include <subbit/core/finite.hpp>

#include <array>
#include <cmath>

namespace subbit::cpu_kernels {

inline constexpr index spd_leaf = 48;

/// Where a block of n > spd_leaf is cut: at a multiple of the leaf.
constexpr index spd_split(index n) {
    return ceil_div(ceil_div(n, spd_leaf), 2) * spd_leaf;
}

/// G = X^T X for X (n,k): half of the blocks are computed, the others mirrored.
template <class Products, class Arch>
void blocked_gram(Arch arch, executor ex, matrix_view<const typename Products::real> X,
                  matrix_view<typename Products::real> G) {
    using real = typename Products::real;
    if (X.rows == 0) return scale_only(G, real(0));
    dense_gemm<Products>(arch, ex, X.t(), X, G, real(1), real(0), gemm_shape::lower_result);
    constexpr index tile = 32;
    ex.when(static_cast<double>(G.size()), gemm_blocking::serial_work / 8)
        .for_chunks(G.rows, tile, [&](index i0, index i1) {
            for (index j0 = i0; j0 < G.cols; j0 += tile)
                for (index i = i0; i < i1; ++i)
                    for (index j = std::max(j0, i + 1); j < std::min(G.cols, j0 + tile); ++j)
                        G(i, j) = G(j, i);
        });
}

/// The inverse of the Cholesky factor of an SPD matrix, and the solves with it; `Arch` says which kernels multiply.
template <class Arch, class Real>
class cholesky_solver {
  public:
    /// Overwrites G (k,k), of which the lower triangle is read, with L^-1.
    cholesky_solver(executor ex, matrix_view<Real> G) : executor_(ex), inverse_(G), positive_(invert(G)) {}

    /// False where a pivot was not positive; G then holds nothing of use.
    bool positive() const { return positive_; }

    /// R <- R G^-1 for R (n,k).
    void solve_right(matrix_view<Real> R) {
        const matrix_view<Real> half = scratch(R.rows, R.cols);
        multiply(R, inverse_.t(), half, gemm_shape::upper_right);
        multiply(half, inverse_, R, gemm_shape::lower_right);
    }

  private:
    using products = plain_products<Real>;
    using leaf_row = std::array<double, static_cast<std::size_t>(spd_leaf)>;
    using leaf_block = std::array<leaf_row, static_cast<std::size_t>(spd_leaf)>;
    struct spd_scratch;

    static matrix_view<Real> scratch(index rows, index cols) {
        return {thread_scratch<spd_scratch>().template reserve<Real>(rows * cols), rows, cols};
    }

    void multiply(matrix_view<const Real> A, matrix_view<const Real> X, matrix_view<Real> C, gemm_shape shape,
                  Real alpha = 1, Real beta = 0) {
        dense_gemm<products>(Arch{}, executor_, A, X, C, alpha, beta, shape);
    }

    /// G <- L^-1, zeros above the diagonal; false where G is not positive definite.
    bool invert(matrix_view<Real> G) {
        const index n = G.rows;
        if (n <= spd_leaf) {
            bool positive = false;
            const auto leaf = [&] { positive = invert_leaf(G); };
            run_loop(Arch{}, leaf);
            return positive;
        }
        const index left = spd_split(n), right = n - left;
        const matrix_view<Real> first = G.block(0, 0, left, left), below = G.block(left, 0, right, left),
                                last = G.block(left, left, right, right);
        if (!invert(first)) return false;
        // L21 = G21 L11^-T, and what it leaves of G22
        multiply(below, first.t(), scratch(right, left), gemm_shape::upper_right);
        copy(scratch(right, left), below);
        multiply(below, below.t(), last, gemm_shape::lower_result, Real(-1), Real(1));
        if (!invert(last)) return false;
        // The inverse's corner is -L22^-1 L21 L11^-1.
        multiply(below, first, scratch(right, left), gemm_shape::lower_right);
        multiply(last, scratch(right, left), below, gemm_shape::lower_left, Real(-1));
        scale_only(G.block(0, left, left, right), Real(0));
        return true;
    }

    static void copy(matrix_view<const Real> from, matrix_view<Real> to) {
        for (index i = 0; i < from.rows; ++i)
            for (index j = 0; j < from.cols; ++j)
                to(i, j) = from(i, j);
    }

    static bool invert_leaf(matrix_view<Real> G) {
        // By columns from the left, each updating the columns that follow (upper storage, L = u^T, keeps the inner loop
        // contiguous).
        leaf_block u{}, inv{};
        const auto size = static_cast<std::size_t>(G.rows);
        for (std::size_t i = 0; i < size; ++i)
            for (std::size_t j = i; j < size; ++j)
                u[i][j] = static_cast<double>(G(static_cast<index>(j), static_cast<index>(i)));
        for (std::size_t p = 0; p < size; ++p) {
            if (!(u[p][p] > 0) || !is_finite(u[p][p])) return false;
            const double scale = 1 / std::sqrt(u[p][p]);
#pragma omp simd
            for (std::size_t j = p; j < size; ++j)
                u[p][j] *= scale;
            for (std::size_t i = p + 1; i < size; ++i)
#pragma omp simd
                for (std::size_t j = i; j < size; ++j)
                    u[i][j] -= u[p][i] * u[p][j];
        }
        // Rows of the inverse of L by forward substitution.
        for (std::size_t i = 0; i < size; ++i) {
            inv[i][i] = 1;
            for (std::size_t p = 0; p < i; ++p)
#pragma omp simd
                for (std::size_t j = 0; j <= p; ++j)
                    inv[i][j] -= u[p][i] * inv[p][j];
#pragma omp simd
            for (std::size_t j = 0; j <= i; ++j)
                inv[i][j] /= u[i][i];
        }
        for (index i = 0; i < G.rows; ++i)
            for (index j = 0; j < G.cols; ++j)
                G(i, j) = static_cast<Real>(inv[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]);
        return true;
    }

    executor executor_;
    matrix_view<Real> inverse_;
    bool positive_;
};

}  // namespace subbit::cpu_kernels
