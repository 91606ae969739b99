// Dense products, entries, rows and sums by Eigen and plain loops (ops/dense.hpp).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace subbit {

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
void do_rounded_gram(reference_tag, const B& b, matrix_view<const S> X, matrix_view<S> G) {
    gram(b, X, G);
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
void do_column_dots(reference_tag, const B&, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> dots) {
    for (index j = 0; j < X.cols; ++j) {
        double sum = 0;
        for (index i = 0; i < X.rows; ++i)
            sum += static_cast<double>(X(i, j)) * static_cast<double>(Y(i, j));
        dots[static_cast<std::size_t>(j)] = static_cast<S>(sum);
    }
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

}  // namespace subbit
