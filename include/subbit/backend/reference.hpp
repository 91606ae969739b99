// The oracle: plain Eigen and plain loops, any scalar type, one thread. Every other backend is tested against it.
#pragma once

#include <subbit/backend/layer_operations.hpp>
#include <subbit/backend/operations.hpp>

#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <vector>

namespace subbit {

/// The backend to understand and to compare with; `Scalar` is what a caller usually runs it in, not a restriction.
template <class Scalar = double>
struct reference {
    using tag = reference_tag;
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;

    int threads() const { return 1; }
    template <class F>
    void parallel_for(index n, index /*grain*/, F&& body) const {
        if (n > 0) body(index{0}, n);
    }
};

template <class B, class S>
matrix<S> do_allocate(reference_tag, const B&, S, index rows, index cols) {
    return matrix<S>::Zero(rows, cols);
}

template <class B, class S>
matrix<S> do_upload(reference_tag, const B&, matrix_view<const S> host) {
    return as_eigen(host);
}

template <class B, class S>
matrix<S> do_download(reference_tag, const B&, matrix_view<const S> device) {
    return as_eigen(device);
}

template <class B, class S>
void do_fill_normal(reference_tag, const B& b, const random_stream& stream, matrix_view<S> X) {
    b.parallel_for(X.rows, 8, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < X.cols; ++j)
                X(i, j) = static_cast<S>(stream.normal(static_cast<std::uint64_t>(i * X.cols + j)));
    });
}

template <class B, class S>
void do_gemm(reference_tag, const B&, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha,
             S beta) {
    const matrix<S> product = as_eigen(A) * as_eigen(X);
    auto c = as_eigen(C);
    if (beta == S(0))
        c = alpha * product;
    else
        c = alpha * product + beta * c;
}

template <class B, class S>
void do_gemm(reference_tag tag, const B& b, matrix_view<const S> A, bit_view X, matrix_view<S> C, S alpha, S beta) {
    const matrix<S> dense = X.template unpack<S>();
    do_gemm(tag, b, A, const_view(dense), C, alpha, beta);
}

template <class B, class S>
void do_gemm(reference_tag tag, const B& b, matrix_view<const S> A, transposed_bit_view X, matrix_view<S> C, S alpha,
             S beta) {
    const matrix<S> dense = X.t().template unpack<S>();
    do_gemm(tag, b, A, const_view(dense).t(), C, alpha, beta);
}

template <class B, class S>
void do_gram(reference_tag, const B&, matrix_view<const S> X, matrix_view<S> G) {
    as_eigen(G) = as_eigen(X).transpose() * as_eigen(X);
}

template <class B, class S>
void do_spd_solve(reference_tag, const B&, matrix_view<S> G, matrix_view<S> R) {
    const matrix<S> g = as_eigen(G);
    const Eigen::LLT<matrix<S>> cholesky(g);
    const matrix<S> rhs = as_eigen(R).transpose();
    if (cholesky.info() == Eigen::Success) {
        as_eigen(R) = cholesky.solve(rhs).transpose();
        return;
    }
    const Eigen::FullPivLU<matrix<S>> lu(g);
    if (!lu.isInvertible()) throw value_error("spd_solve: G (" + shape_text(G.rows, G.cols) + ") is singular");
    as_eigen(R) = lu.solve(rhs).transpose();
}

template <class B, class S>
void do_scale(reference_tag, const B& b, matrix_view<S> X, std::span<const S> left, std::span<const S> right) {
    b.parallel_for(X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S l = left.empty() ? S(1) : left[static_cast<std::size_t>(i)];
            S* x = X.row(i);
            if (right.empty())
                for (index j = 0; j < X.cols; ++j)
                    x[j * X.col_stride] *= l;
            else
                for (index j = 0; j < X.cols; ++j)
                    x[j * X.col_stride] *= l * right[static_cast<std::size_t>(j)];
        }
    });
}

template <class B, class S>
void do_axpby(reference_tag, const B& b, S alpha, matrix_view<const S> X, S beta, matrix_view<S> Y) {
    b.parallel_for(X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < X.cols; ++j)
                Y(i, j) = beta == S(0) ? alpha * X(i, j) : alpha * X(i, j) + beta * Y(i, j);
    });
}

/// |T| ~ u v^T by power iteration from ones. |T| is non-negative, so its leading vectors are too (Perron-Frobenius) and
/// the positive start cannot be orthogonal to them.
template <class B, class S>
void do_rank1_magnitude(reference_tag, const B&, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    const matrix<S> magnitude = as_eigen(T).cwiseAbs();
    Eigen::Map<vector<S>> um(u.data(), T.rows), vm(v.data(), T.cols);
    constexpr int power_iterations = 5;
    const S tiny = static_cast<S>(1e-12);
    vm.setConstant(S(1) / std::sqrt(static_cast<S>(T.cols)));
    for (int k = 0; k < power_iterations; ++k) {
        um = magnitude * vm;
        um /= std::max(um.norm(), tiny);
        vm = magnitude.transpose() * um;
        vm /= std::max(vm.norm(), tiny);
    }
    um = magnitude * vm;  // |um| is the singular value
}

template <class B, class S>
void do_project_dual(reference_tag tag, const B& b, magnitude_form form, S leak, matrix_view<const S> L,
                     matrix_view<S> D, matrix_view<S> Z) {
    std::vector<S> u(static_cast<std::size_t>(L.rows)), v(static_cast<std::size_t>(L.cols), S(1));
    do_axpby(tag, b, S(1), L, S(1), D);  // D holds t = L + D from here on
    const matrix_view<const S> t = D;
    if (form == magnitude_form::rank_one)
        do_rank1_magnitude(typename B::tag{}, b, t, std::span<S>(u), std::span<S>(v));
    else
        do_abs_row_means(typename B::tag{}, b, t, std::span<S>(u));
    for (index i = 0; i < L.rows; ++i)
        for (index j = 0; j < L.cols; ++j) {
            const S magnitude = u[static_cast<std::size_t>(i)] * v[static_cast<std::size_t>(j)];
            Z(i, j) = D(i, j) >= S(0) ? magnitude : -magnitude;
            D(i, j) = leak * (D(i, j) - Z(i, j));
        }
}

template <class B, class S>
void do_abs_row_means(reference_tag, const B& b, matrix_view<const S> X, std::span<S> means) {
    b.parallel_for(X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            double sum = 0;
            for (index j = 0; j < X.cols; ++j)
                sum += std::abs(static_cast<double>(X(i, j)));
            means[static_cast<std::size_t>(i)] = static_cast<S>(X.cols ? sum / static_cast<double>(X.cols) : 0.0);
        }
    });
}

template <class B, class S>
void do_column_norms(reference_tag, const B&, matrix_view<const S> X, std::span<S> norms) {
    std::vector<double> squares(static_cast<std::size_t>(X.cols));
    for (index i = 0; i < X.rows; ++i)
        for (index j = 0; j < X.cols; ++j)
            squares[static_cast<std::size_t>(j)] += static_cast<double>(X(i, j)) * static_cast<double>(X(i, j));
    std::transform(squares.begin(), squares.end(), norms.begin(),
                   [](double s) { return static_cast<S>(std::sqrt(s)); });
}

template <class B, class S>
void do_normalize_columns(reference_tag, const B& b, matrix_view<const S> Z, matrix_view<S> X) {
    std::vector<S> inverse(static_cast<std::size_t>(Z.cols));
    do_column_norms(typename B::tag{}, b, Z, std::span<S>(inverse));
    for (S& x : inverse)
        x = x > S(0) ? S(1) / x : S(0);
    do_axpby(typename B::tag{}, b, S(1), Z, S(0), X);
    do_scale(typename B::tag{}, b, X, std::span<const S>(), std::span<const S>(inverse));
}

template <class B, class S>
double do_squared_distance(reference_tag, const B&, matrix_view<const S> X, matrix_view<const S> Y) {
    double sum = 0;
    for (index i = 0; i < X.rows; ++i)
        for (index j = 0; j < X.cols; ++j) {
            const double d = static_cast<double>(X(i, j)) - static_cast<double>(Y(i, j));
            sum += d * d;
        }
    return sum;
}

template <class B, class S>
double do_squared_norm(reference_tag, const B&, matrix_view<const S> X) {
    double sum = 0;
    for (index i = 0; i < X.rows; ++i)
        for (index j = 0; j < X.cols; ++j)
            sum += static_cast<double>(X(i, j)) * static_cast<double>(X(i, j));
    return sum;
}

template <class B, class S>
double do_trace(reference_tag, const B&, matrix_view<const S> G) {
    double sum = 0;
    for (index i = 0; i < std::min(G.rows, G.cols); ++i)
        sum += static_cast<double>(G(i, i));
    return sum;
}

template <class B, class S>
void do_shift_diagonal(reference_tag, const B&, S lambda, matrix_view<S> G) {
    for (index i = 0; i < std::min(G.rows, G.cols); ++i)
        G(i, i) += lambda;
}

template <class B, class S>
void do_regularize(reference_tag, const B& b, std::span<const double> penalty, double least, matrix_view<S> G) {
    const double mean = trace(b, G) / static_cast<double>(G.rows);
    shift_diagonal(b, std::max(penalty[0] * mean + penalty[1], least), G);
}

template <class B, class S>
void do_rounded_gram(reference_tag, const B& b, matrix_view<const S> X, matrix_view<S> G) {
    gram(b, X, G);
}

template <class B, class S>
bit_matrix do_pack_signs(reference_tag, const B&, matrix_view<const S> X) {
    return bit_matrix::pack(X);
}

}  // namespace subbit
