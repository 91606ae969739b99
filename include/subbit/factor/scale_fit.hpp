// Closed-form least squares for the scales with fixed bits, in the metric of the target (docs/method.md, section 9).
//
// With M = diag(s) V diag(b), Q = M M' and C = T M' (eq. 31), row i of the target costs  a_i^2 u_i'Q u_i - 2 a_i
// c_i'u_i plus a constant. So one pair (C, Q) gives the exact scale of every row here, and the exact choice of every
// bit in bit_descent.hpp.
#pragma once

#include <subbit/factor/sign_factors.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <span>

namespace subbit {

/// Buffers for half steps on a target (m,n) at a rank, allocated once for each matrix.
template <class B, class S>
class fit_workspace {
  public:
    using matrix_type = typename B::template matrix<S>;

    fit_workspace(const B& b, index rows, index cols, index rank)
        : other_(allocate<S>(b, std::max(rows, cols), rank)),
          linear_(allocate<S>(b, std::max(rows, cols), rank)),
          field_(allocate<S>(b, std::max(rows, cols), rank)),
          quadratic_(allocate<S>(b, rank, rank)) {}

    auto other(index rows) { return view(other_).middle_rows(0, rows); }    ///< M' = diag(b) V' diag(s)
    auto linear(index rows) { return view(linear_).middle_rows(0, rows); }  ///< C = T M'
    auto field(index rows) { return view(field_).middle_rows(0, rows); }    ///< F = U Q
    matrix_type& quadratic() { return quadratic_; }                         ///< Q = M M'

  private:
    matrix_type other_, linear_, field_, quadratic_;
};

/// Prepares M, Q, C and F of the workspace for a half step on `self`: T (n,q) is the target with self's rows.
template <class B, class S, class MT>
void prepare_half_step(const B& b, const MT& T, const scaled_signs<B, S>& other, std::span<const S> mid,
                       const scaled_signs<B, S>& self, fit_workspace<B, S>& work) {
    const auto t = const_view(T);
    const auto m = work.other(t.cols);
    expand(b, other, mid, m);
    gram(b, m, work.quadratic());
    gemm(b, t, m, work.linear(t.rows));
    gemm(b, self.signs, work.quadratic(), work.field(t.rows));
}

/// Refits self's scales exactly with everything else fixed (docs/method.md, eq. 32), and returns the explained energy,
/// ||T||^2 - ||residual||^2.
template <class B, class S, class MT>
double fit_outer_scale(const B& b, const MT& T, const scaled_signs<B, S>& other, std::span<const S> mid,
                       scaled_signs<B, S>& self, fit_workspace<B, S>& work) {
    prepare_half_step(b, T, other, mid, self, work);
    const index rows = const_view(T).rows;
    return fit_row_scales(b, work.linear(rows), self.signs, work.field(rows), span_of(self.scale));
}

/// Refits the middle scales exactly with everything else fixed, by the r x r normal equations (docs/method.md, eq. 33).
/// If a scale becomes negative, its component changes sign in U instead. A ridge at the level of rounding pulls toward
/// the present scales, so the system is solvable even with dependent components, and the error never rises.
template <class B, class S, class MT>
void fit_mid_scale(const B& b, const MT& T, sign_factors<B, S>& factors, fit_workspace<B, S>& work) {
    const auto t = const_view(T);
    const index rank = factors.rank();
    const auto left = work.linear(t.rows), right = work.other(t.cols);
    auto gram_right = allocate<S>(b, rank, rank);
    auto solution = allocate<S>(b, 1, rank);
    auto present = allocate<S>(b, 1, rank);

    expand(b, factors.right, {}, right);
    expand(b, factors.left, {}, left);
    gram(b, left, work.quadratic());
    gram(b, right, gram_right);
    hadamard(b, gram_right, work.quadratic());

    const std::span<S> s(view(present).data, static_cast<std::size_t>(rank));
    const std::span<S> step(view(solution).data, static_cast<std::size_t>(rank));
    const auto now = matrix_view<const S>(const_span(*factors.mid).data(), 1, rank);
    gemm(b, t, right, work.field(t.rows));
    column_dots(b, left, work.field(t.rows), step);
    gemm(b, now, work.quadratic(), solution, -1, 1);
    const double rounding = 16 * static_cast<double>(std::numeric_limits<S>::epsilon());
    const std::array<double, 2> penalty{rounding * static_cast<double>(rank), 0.0};
    const auto ridge = upload(b, std::span<const double>(penalty));
    regularize(b, const_span(ridge), 1e-30, work.quadratic());
    spd_solve(b, work.quadratic(), solution);
    axpby(b, 1, now, 1, solution);

    axpby(b, 1, solution, 0, present);
    take_signs(b, present);
    scale(b, factors.left.signs, std::span<const S>(), std::span<const S>(s));
    hadamard(b, present, solution);
    axpby(b, 1, solution, 0, matrix_view<S>(span_of(*factors.mid).data(), 1, rank));
}

/// `rounds` rounds of exact refits: of the middle scales, if there are any, the left scales and the right scales. The
/// error never rises. Returns the explained energy at the end.
template <class B, class S, class MT>
double fit_scales(const B& b, const MT& T, sign_factors<B, S>& factors, int rounds, fit_workspace<B, S>& work) {
    const auto t = const_view(T);
    double explained = 0;
    for (int round = 0; round < rounds; ++round) {
        if (factors.mid) fit_mid_scale(b, t, factors, work);
        fit_outer_scale(b, t, factors.right, mid_span(factors), factors.left, work);
        explained = fit_outer_scale(b, t.t(), factors.left, mid_span(factors), factors.right, work);
    }
    return explained;
}

}  // namespace subbit
