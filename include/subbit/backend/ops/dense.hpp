// Dense products, and operations on entries, rows and sums. Each operation checks its shapes, throws shape_error, and
// calls the version of the most derived tag. Matrices are passed as owners or as views; spans and views point into the
// backend's memory.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/bits/bit_view.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/core/random.hpp>

#include <concepts>
#include <span>

namespace subbit {

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

/// G = X^T X, where the backend may round X as in gemm; for a G that is not inverted afterwards.
template <class B, class MX, class MG>
void rounded_gram(const B& b, const MX& X, MG&& G) {
    const auto x = const_view(X);
    const auto g = view(G);
    require_shape("rounded_gram: G", g.rows, g.cols, x.cols, x.cols);
    do_rounded_gram(typename B::tag{}, b, x, g);
}

/// X <- diag(left) X diag(right) in place; an empty span means ones.
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

/// A new matrix with the entries of X.
template <class B, class M>
auto copy_of(const B& b, const M& X) {
    const auto x = const_view(X);
    auto copy = allocate<typename decltype(x)::value_type>(b, x.rows, x.cols);
    axpby(b, 1, x, 0, copy);
    return copy;
}

/// R = alpha[0] (X - Y), alpha one number in the backend's memory.
template <class B, class MX, class MY, class MR>
void scaled_difference(const B& b, std::span<const double> alpha, const MX& X, const MY& Y, MR&& R) {
    const auto x = const_view(X);
    const auto y = const_view(Y);
    const auto r = view(R);
    require_shape("scaled_difference: Y", y.rows, y.cols, x.rows, x.cols);
    require_shape("scaled_difference: R", r.rows, r.cols, x.rows, x.cols);
    require_size("scaled_difference: alpha", std::ssize(alpha), 1);
    do_scaled_difference(typename B::tag{}, b, alpha, x, y, r);
}

/// Y <- X o Y, element by element.
template <class B, class MX, class MY>
void hadamard(const B& b, const MX& X, MY&& Y) {
    const auto x = const_view(X);
    const auto y = view(Y);
    require_shape("hadamard: Y", y.rows, y.cols, x.rows, x.cols);
    do_hadamard(typename B::tag{}, b, x, y);
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

/// dots[j] = sum_i X(i,j) Y(i,j), accumulated in double.
template <class B, class MX, class MY, class S>
void column_dots(const B& b, const MX& X, const MY& Y, std::span<S> dots) {
    const auto x = const_view(X);
    const auto y = const_view(Y);
    require_shape("column_dots: Y", y.rows, y.cols, x.rows, x.cols);
    require_size("column_dots: dots", std::ssize(dots), x.cols);
    do_column_dots(typename B::tag{}, b, x, y, dots);
}

/// sums[j] += sum_t (weights[t] X(t,j))^2, accumulated in double.
template <class B, class MX, class S>
void add_square_sums(const B& b, const MX& X, std::span<const S> weights, std::span<double> sums) {
    const auto x = const_view(X);
    require_size("add_square_sums: weights", std::ssize(weights), x.rows);
    require_size("add_square_sums: sums", std::ssize(sums), x.cols);
    do_add_square_sums(typename B::tag{}, b, x, weights, sums);
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

/// X <- |X| with the signs of `source`, sign(0) = +1.
template <class B, class MS, class MX>
void copy_signs(const B& b, const MS& source, MX&& X) {
    const auto s = const_view(source);
    const auto x = view(X);
    require_shape("copy_signs: X", x.rows, x.cols, s.rows, s.cols);
    do_copy_signs(typename B::tag{}, b, s, x);
}

/// X <- sign(X), sign(0) = +1.
template <class B, class MX>
void take_signs(const B& b, MX&& X) {
    do_take_signs(typename B::tag{}, b, view(X));
}

}  // namespace subbit
