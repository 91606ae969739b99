// Symmetric positive definite systems from the right, R G^-1, built on the blocked product.
//
// Everything is a recursion that halves the matrix, so that nearly all work is large products. At the leaves, blocks of
// at most `spd_leaf`, the triangle is factored and inverted in double, and a triangular solve is one more product.
#pragma once

#include <subbit/backend/cpu/gemm.hpp>

#include <array>
#include <cmath>
#include <vector>

namespace subbit {

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
    using operand = dense_operand<real>;
    if (X.rows == 0) return scale_only(G, real(0));
    blocked_gemm<Products>(arch, ex, X.rows, operand{X.data, X.col_stride, X.row_stride},
                           operand{X.data, X.col_stride, X.row_stride}, G, real(1), real(0), gemm_part::lower);
    for (index i = 0; i < G.rows; ++i)
        for (index j = i + 1; j < G.cols; ++j)
            G(i, j) = G(j, i);
}

/// The Cholesky factor of an SPD matrix and the solves with it; `Arch` says which kernels multiply.
template <class Arch, class Real>
class cholesky_solver {
  public:
    /// Writes the factor over the lower triangle of G (k,k); tiles on the diagonal spill into the rest.
    cholesky_solver(executor ex, matrix_view<Real> G)
        : executor_(ex),
          factor_(G),
          inverses_(static_cast<std::size_t>(ceil_div(G.rows, spd_leaf) * spd_leaf * spd_leaf)),
          positive_(factorize(0, G.rows)) {}

    /// False where a pivot was not positive; the factor is then unusable.
    bool positive() const { return positive_; }

    /// R <- R G^-1 for R (n,k). Rows are independent of each other: threads take strips of them.
    void solve_right(matrix_view<Real> R) {
        executor_.for_chunks(R.rows, strip, [&](index begin, index end) {
            const matrix_view<Real> rows = R.middle_rows(begin, end - begin);
            solve_transposed(rows, 0, factor_.rows, executor());
            solve_plain(rows, 0, factor_.rows);
        });
    }

  private:
    using products = plain_products<Real>;
    using leaf_block =
        std::array<std::array<double, static_cast<std::size_t>(spd_leaf)>, static_cast<std::size_t>(spd_leaf)>;
    struct leaf_scratch;
    static constexpr index strip = 192;

    /// The inverse of the factor's diagonal leaf at `at`, stored row by row.
    matrix_view<Real> inverse(index at, index n) { return {inverses_.data() + at * spd_leaf, n, n, spd_leaf}; }

    void multiply_add(executor ex, matrix_view<const Real> A, matrix_view<const Real> X, matrix_view<Real> C,
                      Real alpha) {
        dense_gemm<products>(Arch{}, ex, A, X, C, alpha, Real(1));
    }

    bool factorize(index at, index n) {
        if (n <= spd_leaf) return factorize_leaf(at, n);
        const index left = spd_split(n), right = n - left;
        if (!factorize(at, left)) return false;
        const matrix_view<Real> below = factor_.block(at + left, at, right, left);
        solve_transposed(below, at, left, executor_);
        using operand = dense_operand<Real>;
        blocked_gemm<products>(Arch{}, executor_, left, operand{below.data, below.row_stride, below.col_stride},
                               operand{below.data, below.row_stride, below.col_stride},
                               factor_.block(at + left, at + left, right, right), Real(-1), Real(1), gemm_part::lower);
        return factorize(at + left, right);
    }

    bool factorize_leaf(index at, index n) {
        // By columns from the left, each updating the columns that follow (upper storage keeps the inner loop
        // contiguous).
        leaf_block u{}, inv{};
        const auto size = static_cast<std::size_t>(n);
        for (std::size_t i = 0; i < size; ++i)
            for (std::size_t j = i; j < size; ++j)
                u[i][j] = static_cast<double>(factor_(at + static_cast<index>(j), at + static_cast<index>(i)));
        for (std::size_t p = 0; p < size; ++p) {
            if (!(u[p][p] > 0) || !std::isfinite(u[p][p])) return false;
            const double scale = 1 / std::sqrt(u[p][p]);
            for (std::size_t j = p; j < size; ++j)
                u[p][j] *= scale;
            for (std::size_t i = p + 1; i < size; ++i)
                for (std::size_t j = i; j < size; ++j)
                    u[i][j] -= u[p][i] * u[p][j];
        }
        // Rows of the inverse of L = u^T by forward substitution.
        for (std::size_t i = 0; i < size; ++i) {
            inv[i][i] = 1;
            for (std::size_t p = 0; p < i; ++p)
                for (std::size_t j = 0; j <= p; ++j)
                    inv[i][j] -= u[p][i] * inv[p][j];
            for (std::size_t j = 0; j <= i; ++j)
                inv[i][j] /= u[i][i];
        }
        const matrix_view<Real> stored = inverse(at, n);
        for (index i = 0; i < n; ++i)
            for (index j = 0; j < n; ++j) {
                const auto si = static_cast<std::size_t>(i), sj = static_cast<std::size_t>(j);
                stored(i, j) = static_cast<Real>(inv[si][sj]);
                if (j <= i) factor_(at + i, at + j) = static_cast<Real>(u[sj][si]);
            }
        return true;
    }

    /// R <- R L^-T with the factor's block at `at`.
    void solve_transposed(matrix_view<Real> R, index at, index n, executor ex) {
        if (n <= spd_leaf) return multiply_leaf(R, inverse(at, n).t(), ex);
        const index left = spd_split(n), right = n - left;
        solve_transposed(R.middle_cols(0, left), at, left, ex);
        multiply_add(ex, R.middle_cols(0, left), factor_.block(at + left, at, right, left).t(),
                     R.middle_cols(left, right), Real(-1));
        solve_transposed(R.middle_cols(left, right), at + left, right, ex);
    }

    /// R <- R L^-1 with the factor's block at `at`.
    void solve_plain(matrix_view<Real> R, index at, index n) {
        if (n <= spd_leaf) return multiply_leaf(R, inverse(at, n), executor());
        const index left = spd_split(n), right = n - left;
        solve_plain(R.middle_cols(left, right), at + left, right);
        multiply_add(executor(), R.middle_cols(left, right), factor_.block(at + left, at, right, left),
                     R.middle_cols(0, left), Real(-1));
        solve_plain(R.middle_cols(0, left), at, left);
    }

    /// R <- R T for a leaf's triangle T; the product cannot overwrite what it reads.
    void multiply_leaf(matrix_view<Real> R, matrix_view<const Real> T, executor ex) {
        Real* copy = thread_scratch<leaf_scratch>().template reserve<Real>(R.rows * T.rows);
        const matrix_view<Real> old(copy, R.rows, T.rows);
        for (index i = 0; i < R.rows; ++i)
            for (index j = 0; j < R.cols; ++j)
                old(i, j) = R(i, j);
        dense_gemm<products>(Arch{}, ex, old, T, R, Real(1), Real(0));
    }

    executor executor_;
    matrix_view<Real> factor_;
    std::vector<Real> inverses_;
    bool positive_;
};

}  // namespace subbit
