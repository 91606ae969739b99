// The operations every solver is written in. Each checks its shapes, throws shape_error, and calls the kernel of the
// most derived tag. Matrices are passed as owners or as views; spans and views point into the backend's own memory.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/core/random.hpp>

#include <span>

namespace subbit {

/// Read-only view of an owner or view.
template <class M>
auto const_view(const M& m) {
    const auto v = view(m);
    using T = typename decltype(v)::value_type;
    return matrix_view<const T>(v);
}

/// A rows x cols matrix in the backend's memory, all zero.
template <class S, backend<S> B>
auto allocate(const B& b, index rows, index cols) {
    return do_allocate(typename B::tag{}, b, S{}, rows, cols);
}

/// Copies a host matrix into the backend's memory.
template <class B, class M>
auto upload(const B& b, const M& host) {
    return do_upload(typename B::tag{}, b, const_view(host));
}

/// Copies a matrix of the backend's memory to the host.
template <class B, class M>
auto download(const B& b, const M& device) {
    return do_download(typename B::tag{}, b, const_view(device));
}

/// X(i,j) = the (i*cols+j)-th standard normal number of the stream; the same on every backend.
template <class B, class M>
void fill_normal(const B& b, const random_stream& stream, M&& X) {
    do_fill_normal(typename B::tag{}, b, stream, view(X));
}

/// C = alpha A X + beta C for A (m,k), X (k,n), C (m,n); beta = 0 does not read C. Accumulates in the scalar type (cpu:
/// fixed order over k). C must not overlap A or X.
template <class B, class MA, class MX, class MC>
requires requires(const MX& x) {
    view(x);
}
void gemm(const B& b, const MA& A, const MX& X, MC&& C, double alpha = 1, double beta = 0) {
    const auto a = const_view(A);
    const auto x = const_view(X);
    const auto c = view(C);
    require_shape("gemm: X", x.rows, x.cols, a.cols, c.cols);
    require_shape("gemm: C", c.rows, c.cols, a.rows, x.cols);
    using S = typename decltype(c)::value_type;
    do_gemm(typename B::tag{}, b, a, x, c, static_cast<S>(alpha), static_cast<S>(beta));
}

/// C = alpha A X + beta C with X a packed sign matrix (k,n), or the transpose of one: the products of a binary layer.
template <class B, class MA, class Bits, class MC>
requires(std::same_as<Bits, bit_view> ||
         std::same_as<Bits, transposed_bit_view>) void gemm(const B& b, const MA& A, Bits X, MC&& C, double alpha = 1,
                                                            double beta = 0) {
    const auto a = const_view(A);
    const auto c = view(C);
    require_shape("gemm: bits", X.rows(), X.cols(), a.cols, c.cols);
    require_shape("gemm: C", c.rows, c.cols, a.rows, X.cols());
    using S = typename decltype(c)::value_type;
    do_gemm(typename B::tag{}, b, a, X, c, static_cast<S>(alpha), static_cast<S>(beta));
}

/// G = X^T X for X (n,k), G (k,k), both triangles written.
template <class B, class MX, class MG>
void gram(const B& b, const MX& X, MG&& G) {
    const auto x = const_view(X);
    const auto g = view(G);
    require_shape("gram: G", g.rows, g.cols, x.cols, x.cols);
    do_gram(typename B::tag{}, b, x, g);
}

/// G = X^T X, where the backend may round X as it does in gemm: for a G that what follows does not invert.
template <class B, class MX, class MG>
void rounded_gram(const B& b, const MX& X, MG&& G) {
    const auto x = const_view(X);
    const auto g = view(G);
    require_shape("rounded_gram: G", g.rows, g.cols, x.cols, x.cols);
    do_rounded_gram(typename B::tag{}, b, x, g);
}

/// R <- R G^-1 for symmetric positive definite G (k,k), R (n,k): Cholesky, or LU where that fails. G is destroyed.
/// Throws value_error when G is singular; a device that runs ahead of the host throws when it is next waited for.
template <class B, class MG, class MR>
void spd_solve(const B& b, MG&& G, MR&& R) {
    const auto g = view(G);
    const auto r = view(R);
    require_shape("spd_solve: G", g.rows, g.cols, r.cols, r.cols);
    do_spd_solve(typename B::tag{}, b, g, r);
}

/// X <- diag(left) X diag(right) in place; an empty span stands for ones.
template <class B, class M, class S>
void scale(const B& b, M&& X, std::span<const S> left, std::span<const S> right) {
    const auto x = view(X);
    if (!left.empty()) require_size("scale: left", std::ssize(left), x.rows);
    if (!right.empty()) require_size("scale: right", std::ssize(right), x.cols);
    do_scale(typename B::tag{}, b, x, left, right);
}

/// Y = alpha X + beta Y, element by element; beta = 0 does not read Y (so alpha = 1, beta = 0 copies).
template <class B, class MX, class MY>
void axpby(const B& b, double alpha, const MX& X, double beta, MY&& Y) {
    const auto x = const_view(X);
    const auto y = view(Y);
    require_shape("axpby: Y", y.rows, y.cols, x.rows, x.cols);
    using S = typename decltype(y)::value_type;
    do_axpby(typename B::tag{}, b, static_cast<S>(alpha), x, static_cast<S>(beta), y);
}

/// The auxiliary and dual step of ADMM in one pass: t = L + D; Z = P(t); D = leak (t - Z), with P as `form` says.
/// L, D, Z are (n,k); leak = 1 is the paper's scaled dual update, below 1 a leaky one (refinement.md).
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

/// Non-negative u (rows), v (cols) with |T| ~ u v^T, the leading singular triplet by 5 power iterations from ones; u
/// carries the singular value, |v| = 1.
template <class B, class M, class S>
void rank1_magnitude(const B& b, const M& T, std::span<S> u, std::span<S> v) {
    const auto t = const_view(T);
    require_size("rank1_magnitude: u", std::ssize(u), t.rows);
    require_size("rank1_magnitude: v", std::ssize(v), t.cols);
    do_rank1_magnitude(typename B::tag{}, b, t, u, v);
}

/// means[i] = mean_j |X(i,j)|; pass X.t() for the columns.
template <class B, class M, class S>
void abs_row_means(const B& b, const M& X, std::span<S> means) {
    const auto x = const_view(X);
    require_size("abs_row_means: means", std::ssize(means), x.rows);
    do_abs_row_means(typename B::tag{}, b, x, means);
}

/// norms[j] = ||X(:,j)||_2, accumulated in double.
template <class B, class M, class S>
void column_norms(const B& b, const M& X, std::span<S> norms) {
    const auto x = const_view(X);
    require_size("column_norms: norms", std::ssize(norms), x.cols);
    do_column_norms(typename B::tag{}, b, x, norms);
}

/// X = Z with every column divided by its norm; a zero column stays zero.
template <class B, class MZ, class MX>
void normalize_columns(const B& b, const MZ& Z, MX&& X) {
    const auto z = const_view(Z);
    const auto x = view(X);
    require_shape("normalize_columns: X", x.rows, x.cols, z.rows, z.cols);
    do_normalize_columns(typename B::tag{}, b, z, x);
}

/// ||X - Y||_F^2 accumulated in double.
template <class B, class MX, class MY>
double squared_distance(const B& b, const MX& X, const MY& Y) {
    const auto x = const_view(X);
    const auto y = const_view(Y);
    require_shape("squared_distance: Y", y.rows, y.cols, x.rows, x.cols);
    return do_squared_distance(typename B::tag{}, b, x, y);
}

/// ||X||_F^2 accumulated in double.
template <class B, class M>
double squared_norm(const B& b, const M& X) {
    return do_squared_norm(typename B::tag{}, b, const_view(X));
}

/// The sum of the diagonal of a square matrix.
template <class B, class M>
double trace(const B& b, const M& G) {
    return do_trace(typename B::tag{}, b, const_view(G));
}

/// G <- G + lambda I.
template <class B, class M>
void shift_diagonal(const B& b, double lambda, M&& G) {
    const auto g = view(G);
    using S = typename decltype(g)::value_type;
    do_shift_diagonal(typename B::tag{}, b, static_cast<S>(lambda), g);
}

/// G <- G + max(penalty[0] mean(diag G) + penalty[1], least) I for a square G: the penalty of a ridge regression, two
/// numbers in the backend's memory.
template <class B, class M>
void regularize(const B& b, std::span<const double> penalty, double least, M&& G) {
    const auto g = view(G);
    require_size("regularize: penalty", std::ssize(penalty), 2);
    require_shape("regularize: G", g.rows, g.cols, g.rows, g.rows);
    do_regularize(typename B::tag{}, b, penalty, least, g);
}

/// Packs the signs of X: bit (i,j) is set where X(i,j) >= 0.
template <class B, class M>
bit_matrix pack_signs(const B& b, const M& X) {
    return do_pack_signs(typename B::tag{}, b, const_view(X));
}

}  // namespace subbit
