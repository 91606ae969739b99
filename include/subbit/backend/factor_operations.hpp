// The operations that only the factor and calib rooms need, with their reference versions. Same convention as
// operations.hpp: the public function checks shapes, the kernel of the most derived tag does the work.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/core/types.hpp>

#include <Eigen/Eigenvalues>
#include <cmath>
#include <span>

namespace subbit {

/// n zeros in the backend's memory.
template <class S, class B>
auto allocate_vector(const B& b, index n) {
    return do_allocate_vector(typename B::tag{}, b, S{}, n);
}

/// Copies host numbers into a vector of the backend's memory.
template <class B, class S>
auto upload_vector(const B& b, std::span<const S> host) {
    return do_upload_vector(typename B::tag{}, b, host);
}

/// Copies numbers of the backend's memory to the host.
template <class B, class S>
vector<S> download_vector(const B& b, std::span<const S> device) {
    return do_download_vector(typename B::tag{}, b, device);
}

/// A vector of the backend's memory as an n x 1 matrix, for the operations that take matrices.
template <class S>
matrix_view<S> as_column(std::span<S> v) {
    return {v.data(), std::ssize(v), 1};
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

/// dots[j] = sum_i X(i,j) Y(i,j), accumulated in double.
template <class B, class MX, class MY, class S>
void column_dots(const B& b, const MX& X, const MY& Y, std::span<S> dots) {
    const auto x = const_view(X);
    const auto y = const_view(Y);
    require_shape("column_dots: Y", y.rows, y.cols, x.rows, x.cols);
    require_size("column_dots: dots", std::ssize(dots), x.cols);
    do_column_dots(typename B::tag{}, b, x, y, dots);
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

/// One sweep of exact coordinate descent over the bits of every row u of U (n,k), for the cost a^2 u'Qu - 2 a c'u of
/// the row with scale a >= 0 and right-hand side c in C (n,k); Q is (k,k). F (n,k) holds U Q before and after. Returns
/// how many bits flipped. A flip of bit j changes the cost by 4 a (u_j (c_j - a f_j) + a Q_jj): taken where negative
/// (refinement.md).
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

/// scales[i] = c_i'u_i / f_i'u_i, the exact minimizer of a^2 f'u - 2 a c'u for each row; where it is negative the row
/// of U and F changes sign instead, and where f'u = 0 the scale is 0. Returns sum_i scales[i] c_i'u_i, the energy that
/// these scales explain.
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

/// V = the eigenvectors of a symmetric G (k,k) as columns, by falling eigenvalue; computed in double. Throws
/// value_error where G is not finite.
template <class B, class MG, class MV>
void symmetric_eigenvectors(const B& b, const MG& G, MV&& V) {
    const auto g = const_view(G);
    const auto v = view(V);
    require_shape("symmetric_eigenvectors: G", g.rows, g.cols, v.cols, v.cols);
    require_shape("symmetric_eigenvectors: V", v.rows, v.cols, g.rows, g.cols);
    do_symmetric_eigenvectors(typename B::tag{}, b, g, v);
}

/// sums[j] += sum_t (weights[t] X(t,j))^2, accumulated in double.
template <class B, class MX, class S>
void add_square_sums(const B& b, const MX& X, std::span<const S> weights, std::span<double> sums) {
    const auto x = const_view(X);
    require_size("add_square_sums: weights", std::ssize(weights), x.rows);
    require_size("add_square_sums: sums", std::ssize(sums), x.cols);
    do_add_square_sums(typename B::tag{}, b, x, weights, sums);
}

template <class B, class S>
vector<S> do_allocate_vector(reference_tag, const B&, S, index n) {
    return vector<S>::Zero(n);
}

template <class B, class S>
vector<S> do_upload_vector(reference_tag, const B&, std::span<const S> host) {
    return Eigen::Map<const vector<S>>(host.data(), std::ssize(host));
}

template <class B, class S>
vector<S> do_download_vector(reference_tag, const B&, std::span<const S> device) {
    return Eigen::Map<const vector<S>>(device.data(), std::ssize(device));
}

template <class B, class S>
void do_scaled_difference(reference_tag, const B&, std::span<const double> alpha, matrix_view<const S> X,
                          matrix_view<const S> Y, matrix_view<S> R) {
    as_eigen(R) = static_cast<S>(alpha[0]) * (as_eigen(X) - as_eigen(Y));
}

template <class B, class S>
void do_hadamard(reference_tag, const B&, matrix_view<const S> X, matrix_view<S> Y) {
    as_eigen(Y).array() *= as_eigen(X).array();
}

template <class B, class S>
void do_column_dots(reference_tag, const B&, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> dots) {
    for (index j = 0; j < X.cols; ++j) {
        double sum = 0;
        for (index i = 0; i < X.rows; ++i)
            sum += static_cast<double>(X(i, j)) * static_cast<double>(Y(i, j));
        dots[static_cast<std::size_t>(j)] = static_cast<S>(sum);
    }
}

template <class B, class S>
void do_copy_signs(reference_tag, const B& b, matrix_view<const S> source, matrix_view<S> X) {
    b.parallel_for(X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < X.cols; ++j)
                X(i, j) = sign(source(i, j)) * std::abs(X(i, j));
    });
}

template <class B, class S>
void do_take_signs(reference_tag, const B& b, matrix_view<S> X) {
    b.parallel_for(X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < X.cols; ++j)
                X(i, j) = sign(X(i, j));
    });
}

template <class B, class S>
index do_descend_bits(reference_tag, const B&, matrix_view<const S> C, matrix_view<const S> Q,
                      std::span<const S> scales, matrix_view<S> U, matrix_view<S> F) {
    index flips = 0;
    for (index i = 0; i < U.rows; ++i) {
        const S a = scales[static_cast<std::size_t>(i)];
        for (index j = 0; j < U.cols; ++j) {
            if (U(i, j) * (C(i, j) - a * F(i, j)) + a * Q(j, j) >= S(0)) continue;
            U(i, j) = -U(i, j);
            for (index l = 0; l < U.cols; ++l)
                F(i, l) += 2 * U(i, j) * Q(j, l);
            ++flips;
        }
    }
    return flips;
}

template <class B, class S>
double do_fit_row_scales(reference_tag, const B&, matrix_view<const S> C, matrix_view<S> U, matrix_view<S> F,
                         std::span<S> scales) {
    double explained = 0;
    for (index i = 0; i < U.rows; ++i) {
        const auto u = as_eigen(U).row(i).template cast<double>();
        const double overlap = u.dot(as_eigen(C).row(i).template cast<double>());
        const double energy = u.dot(as_eigen(F).row(i).template cast<double>());
        if (overlap < 0) {
            as_eigen(U).row(i) *= S(-1);
            as_eigen(F).row(i) *= S(-1);
        }
        const double a = energy > 0 ? std::abs(overlap) / energy : 0.0;
        scales[static_cast<std::size_t>(i)] = static_cast<S>(a);
        explained += a * std::abs(overlap);
    }
    return explained;
}

template <class B, class S>
void do_symmetric_eigenvectors(reference_tag, const B&, matrix_view<const S> G, matrix_view<S> V) {
    const matrix<double> g = as_eigen(G).template cast<double>();
    const Eigen::SelfAdjointEigenSolver<matrix<double>> solver(g);
    if (solver.info() != Eigen::Success)
        throw value_error("symmetric_eigenvectors: G (" + shape_text(G.rows, G.cols) + ") did not converge");
    as_eigen(V) = solver.eigenvectors().rowwise().reverse().template cast<S>();
}

template <class B, class S>
void do_add_square_sums(reference_tag, const B&, matrix_view<const S> X, std::span<const S> weights,
                        std::span<double> sums) {
    for (index t = 0; t < X.rows; ++t)
        for (index j = 0; j < X.cols; ++j) {
            const double x = static_cast<double>(weights[static_cast<std::size_t>(t)]) * static_cast<double>(X(t, j));
            sums[static_cast<std::size_t>(j)] += x * x;
        }
}

}  // namespace subbit
