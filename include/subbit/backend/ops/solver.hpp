// The steps of the solvers: symmetric solves, magnitudes of ADMM, descent over bits, eigenvectors, and conjugate
// gradients (docs/method.md, eq. 28) for many systems x G = r at once, where one row of each matrix is one system.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <span>

namespace subbit {

/// How the auxiliary step of ADMM projects a latent onto signs times magnitudes (docs/method.md, eq. 14 and 21).
enum class magnitude_form {
    rank_one,   ///< sign(T) o (sigma u v^T): the leading singular triplet of |T| by power iterations
    row_means,  ///< sign(T) o (mean of |T| over the row): exactly the two-scale form, no iteration
};

/// The number of power iterations for rank-one magnitudes, and the norm below which a vector counts as zero.
inline constexpr int power_iterations = 5;
inline constexpr double least_norm = 1e-12;

/// R <- R G^-1 for symmetric positive definite G (k,k), R (n,k): Cholesky, or LU if that fails. G is overwritten.
/// Throws value_error if G is singular; a device that works asynchronously throws in the next call that waits for it.
template <class B, class MG, class MR>
void spd_solve(const B& b, MG&& G, MR&& R) {
    const auto g = view(G);
    const auto r = view(R);
    require_shape("spd_solve: G", g.rows, g.cols, r.cols, r.cols);
    do_spd_solve(typename B::tag{}, b, g, r);
}

/// G <- G + max(penalty[0] mean(diag G) + penalty[1], least) I for a square G: the penalty of a ridge regression
/// (docs/method.md, eq. 17), whose two numbers are in the backend's memory.
template <class B, class M>
void regularize(const B& b, std::span<const double> penalty, double least, M&& G) {
    const auto g = view(G);
    require_size("regularize: penalty", std::ssize(penalty), 2);
    require_shape("regularize: G", g.rows, g.cols, g.rows, g.rows);
    do_regularize(typename B::tag{}, b, penalty, least, g);
}

/// The auxiliary and dual step of ADMM in one pass (docs/method.md, eq. 18 and 23): t = L + D; Z = P(t); D = leak (t -
/// Z), with the projection P that `form` names. L, D, Z are (n,k); leak = 1 is the paper's scaled dual update.
template <class B, class ML, class MD, class MZ>
void project_dual(const B& b, magnitude_form form, double leak, const ML& L, MD&& D, MZ&& Z) {
    const auto l = const_view(L);
    const auto d = view(D);
    const auto z = view(Z);
    require_shape("project_dual: D", d.rows, d.cols, l.rows, l.cols);
    require_shape("project_dual: Z", z.rows, z.cols, l.rows, l.cols);
    using S = typename decltype(d)::value_type;
    do_project_dual(typename B::tag{}, b, form, static_cast<S>(leak), l, d, z);
}

/// Non-negative u (rows), v (cols) with |T| ~ u v^T, the leading singular triplet by power_iterations from ones; u
/// carries the singular value, |v| = 1.
template <class B, class M, class S>
void rank1_magnitude(const B& b, const M& T, std::span<S> u, std::span<S> v) {
    const auto t = const_view(T);
    require_size("rank1_magnitude: u", std::ssize(u), t.rows);
    require_size("rank1_magnitude: v", std::ssize(v), t.cols);
    do_rank1_magnitude(typename B::tag{}, b, t, u, v);
}

/// One sweep of exact coordinate descent over the bits of every row u of U (n,k), for the cost a^2 u'Qu - 2 a c'u of
/// the row with scale a >= 0 and right-hand side c in C (n,k); Q is (k,k). F (n,k) holds U Q before and after. Returns
/// the number of flips. Flipping bit j changes the cost by 4 a (u_j (c_j - a f_j) + a Q_jj) (docs/method.md, eq. 34);
/// it is flipped if that is negative.
template <class B, class MC, class MQ, class S, class MU, class MF>
index descend_bits(const B& b, const MC& C, const MQ& Q, std::span<const S> scales, MU&& U, MF&& F) {
    const auto c = const_view(C);
    const auto q = const_view(Q);
    const auto u = view(U);
    const auto f = view(F);
    require_shape("descend_bits: C", c.rows, c.cols, u.rows, u.cols);
    require_shape("descend_bits: Q", q.rows, q.cols, u.cols, u.cols);
    require_shape("descend_bits: F", f.rows, f.cols, u.rows, u.cols);
    require_size("descend_bits: scales", std::ssize(scales), u.rows);
    return do_descend_bits(typename B::tag{}, b, c, q, scales, u, f);
}

/// scales[i] = c_i'u_i / f_i'u_i, the exact minimizer of a^2 f'u - 2 a c'u for each row (docs/method.md, eq. 32). If it
/// is negative, the row of U and F changes sign instead; if f'u = 0, the scale is 0. Returns sum_i scales[i] c_i'u_i,
/// the energy that these scales explain.
template <class B, class MC, class MU, class MF, class S>
double fit_row_scales(const B& b, const MC& C, MU&& U, MF&& F, std::span<S> scales) {
    const auto c = const_view(C);
    const auto u = view(U);
    const auto f = view(F);
    require_shape("fit_row_scales: C", c.rows, c.cols, u.rows, u.cols);
    require_shape("fit_row_scales: F", f.rows, f.cols, u.rows, u.cols);
    require_size("fit_row_scales: scales", std::ssize(scales), u.rows);
    return do_fit_row_scales(typename B::tag{}, b, c, u, f, scales);
}

/// V = the eigenvectors of a symmetric G (k,k) as columns, in order of falling eigenvalues; computed in double. Throws
/// value_error if G is not finite.
template <class B, class MG, class MV>
void symmetric_eigenvectors(const B& b, const MG& G, MV&& V) {
    const auto g = const_view(G);
    const auto v = view(V);
    require_shape("symmetric_eigenvectors: G", g.rows, g.cols, v.cols, v.cols);
    require_shape("symmetric_eigenvectors: V", v.rows, v.cols, g.rows, g.cols);
    do_symmetric_eigenvectors(typename B::tag{}, b, g, v);
}

/// The state of each row, in the backend's memory.
template <class S>
struct descent_rows {
    std::span<S> energy;  ///< |r|^2 of the present residual r
    std::span<S> gained;  ///< twice the sum by which all steps lowered 1/2 x'Gx - r'x, over all solves
    std::span<S> last;    ///< the part of it due to the last step of each solve
};

/// The place of a step in its solve. The first goes along the residual; the last does not update residual and
/// direction.
struct descent_place {
    bool first, last;
};

namespace detail {

template <class S>
void require_rows(const char* operation, descent_rows<S> rows, index n) {
    require_size(operation, std::ssize(rows.energy), n);
    require_size(operation, std::ssize(rows.gained), n);
    require_size(operation, std::ssize(rows.last), n);
}

}  // namespace detail

/// R <- R - Q and rows.energy[i] = |R(i,:)|^2: the residual where Q = X G.
template <class B, class MQ, class MR, class S>
void start_descent(const B& b, const MQ& Q, MR&& R, descent_rows<S> rows) {
    const auto q = const_view(Q);
    const auto r = view(R);
    require_shape("start_descent: Q", q.rows, q.cols, r.rows, r.cols);
    detail::require_rows("start_descent: rows", rows, r.rows);
    do_start_descent(typename B::tag{}, b, q, r, rows);
}

/// One step of every row, with Q = P G for the direction P (R itself in the first step, where P is not read):
/// a = |r|^2 / p'q, x <- x + a p, r <- r - a q, p <- r + (|r|^2 / |r before|^2) p. A row whose p'q is not positive
/// stays where it is. Dot products are accumulated in double.
template <class B, class MQ, class MP, class MR, class MX, class S>
void descend_step(const B& b, descent_place place, const MQ& Q, MP&& P, MR&& R, MX&& X, descent_rows<S> rows) {
    const auto q = const_view(Q);
    const auto p = view(P);
    const auto r = view(R);
    const auto x = view(X);
    require_shape("descend_step: Q", q.rows, q.cols, x.rows, x.cols);
    require_shape("descend_step: P", p.rows, p.cols, x.rows, x.cols);
    require_shape("descend_step: R", r.rows, r.cols, x.rows, x.cols);
    detail::require_rows("descend_step: rows", rows, x.rows);
    do_descend_step(typename B::tag{}, b, place, q, p, r, x, rows);
}

}  // namespace subbit
