// Dense products, entries, rows and sums (ops/dense.hpp): blocked products, and one pass over memory where that is
// possible.
#pragma once

#include <subbit/backend/cpu/kernels/loops.hpp>
#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/products.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/dense.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <span>
#include <vector>

namespace subbit {

template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha, S beta) {
    cpu_kernels::dense_product(cpu_kernels::machine(b), A, X, C, alpha, beta);
}

/// Products with signs are sums in S for every precision of the backend: packed, they are faster than rounded products.
template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, transposed_bit_view X, matrix_view<S> C, S alpha, S beta) {
    cpu_kernels::sign_product(cpu_kernels::machine(b), A, X.t(), true, C, alpha, beta);
}

template <class B, std::floating_point S>
void do_gemm(cpu_tag, const B& b, matrix_view<const S> A, bit_view X, matrix_view<S> C, S alpha, S beta) {
    cpu_kernels::sign_product(cpu_kernels::machine(b), A, X, false, C, alpha, beta);
}

/// Always in full precision: a solve amplifies the rounding errors of its Gram matrix.
template <class B, std::floating_point S>
void do_gram(cpu_tag, const B& b, matrix_view<const S> X, matrix_view<S> G) {
    cpu_kernels::gram_product(cpu_kernels::machine(b), X, G);
}

template <class B, class S>
void do_axpby(cpu_tag, const B& b, S alpha, matrix_view<const S> X, S beta, matrix_view<S> Y) {
    const auto run = [&](auto x, auto y) {
        vectorized_for(b, x.rows, cpu_kernels::row_grain(x.cols), [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                const S* from = x.row(i);
                S* to = y.row(i);
                if (beta == S(0))
#pragma omp simd
                    for (index j = 0; j < x.cols; ++j)
                        to[j] = alpha * from[j];
                else
#pragma omp simd
                    for (index j = 0; j < x.cols; ++j)
                        to[j] = alpha * from[j] + beta * to[j];
            }
        });
    };
    if (!cpu_kernels::with_contiguous_rows(run, X, Y)) do_axpby(reference_tag{}, b, alpha, X, beta, Y);
}

template <class B, class S>
void do_scale(cpu_tag, const B& b, matrix_view<S> X, std::span<const S> left, std::span<const S> right) {
    if (!X.is_row_major()) {
        if (X.row_stride == 1) return do_scale(cpu_tag{}, b, X.t(), right, left);
        return do_scale(reference_tag{}, b, X, left, right);
    }
    vectorized_for(b, X.rows, cpu_kernels::row_grain(X.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S l = left.empty() ? S(1) : left[static_cast<std::size_t>(i)];
            S* x = X.row(i);
            const S* r = right.data();
            if (right.empty())
#pragma omp simd
                for (index j = 0; j < X.cols; ++j)
                    x[j] *= l;
            else
#pragma omp simd
                for (index j = 0; j < X.cols; ++j)
                    x[j] *= l * r[j];
        }
    });
}

template <class B, class S>
void do_scaled_difference(cpu_tag, const B& b, std::span<const double> alpha, matrix_view<const S> X,
                          matrix_view<const S> Y, matrix_view<S> R) {
    const S by = static_cast<S>(alpha[0]);
    const auto run = [&](auto x, auto y, auto r) {
        vectorized_for(b, x.rows, cpu_kernels::row_grain(x.cols), [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                const S *from = x.row(i), *minus = y.row(i);
                S* to = r.row(i);
#pragma omp simd
                for (index j = 0; j < x.cols; ++j)
                    to[j] = by * (from[j] - minus[j]);
            }
        });
    };
    if (!cpu_kernels::with_contiguous_rows(run, X, Y, R)) do_scaled_difference(reference_tag{}, b, alpha, X, Y, R);
}

template <class B, class S>
void do_abs_row_means(cpu_tag, const B& b, matrix_view<const S> X, std::span<S> means) {
    if (!X.is_row_major()) return do_abs_row_means(reference_tag{}, b, X, means);
    vectorized_for(b, X.rows, cpu_kernels::row_grain(X.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            means[static_cast<std::size_t>(i)] =
                static_cast<S>(lane_abs_sum(X.row(i), X.cols) / static_cast<double>(std::max<index>(X.cols, 1)));
    });
}

template <class B, class S>
void do_column_norms(cpu_tag, const B& b, matrix_view<const S> X, std::span<S> norms) {
    if (!X.is_row_major() && X.row_stride == 1) {
        // Columns are contiguous: one norm at a time.
        return vectorized_for(b, X.cols, cpu_kernels::row_grain(X.rows), [&](index begin, index end) {
            for (index j = begin; j < end; ++j)
                norms[static_cast<std::size_t>(j)] = static_cast<S>(std::sqrt(lane_square_sum(X.t().row(j), X.rows)));
        });
    }
    if (!X.is_row_major()) return do_column_norms(reference_tag{}, b, X, norms);
    const auto squares =
        cpu_kernels::ordered_row_sum<double>(b, X.rows, X.cols, X.cols, [&](index begin, index end, double* part) {
            for (index i = begin; i < end; ++i) {
                const S* x = X.row(i);
#pragma omp simd
                for (index j = 0; j < X.cols; ++j)
                    part[j] += static_cast<double>(x[j]) * static_cast<double>(x[j]);
            }
        });
    std::transform(squares.begin(), squares.end(), norms.begin(),
                   [](double square) { return static_cast<S>(std::sqrt(square)); });
}

template <class B, class S>
void do_normalize_columns(cpu_tag, const B& b, matrix_view<const S> Z, matrix_view<S> X) {
    if (!Z.is_row_major() || !X.is_row_major()) return do_normalize_columns(reference_tag{}, b, Z, X);
    std::vector<S> inverse(static_cast<std::size_t>(Z.cols));
    do_column_norms(cpu_tag{}, b, Z, std::span<S>(inverse));
    for (S& x : inverse)
        x = x > S(0) ? S(1) / x : S(0);
    vectorized_for(b, Z.rows, cpu_kernels::row_grain(Z.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S *z = Z.row(i), *scale = inverse.data();
            S* x = X.row(i);
#pragma omp simd
            for (index j = 0; j < Z.cols; ++j)
                x[j] = z[j] * scale[j];
        }
    });
}

template <class B, class S>
void do_add_square_sums(cpu_tag, const B& b, matrix_view<const S> X, std::span<const S> weights,
                        std::span<double> sums) {
    if (!X.is_row_major()) return do_add_square_sums(reference_tag{}, b, X, weights, sums);
    const auto squares =
        cpu_kernels::ordered_row_sum<double>(b, X.rows, X.cols, X.cols, [&](index begin, index end, double* part) {
            for (index t = begin; t < end; ++t) {
                const double weight = static_cast<double>(weights[static_cast<std::size_t>(t)]);
                const S* x = X.row(t);
#pragma omp simd
                for (index j = 0; j < X.cols; ++j) {
                    const double clipped = weight * static_cast<double>(x[j]);
                    part[j] += clipped * clipped;
                }
            }
        });
    for (std::size_t j = 0; j < sums.size(); ++j)
        sums[j] += squares[j];
}

template <class B, class S>
double do_squared_distance(cpu_tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y) {
    double result = 0;
    const auto run = [&](auto x, auto y) {
        result = cpu_kernels::ordered_sum(b, x.rows, cpu_kernels::row_grain(x.cols), [&](index begin, index end) {
            double sum = 0;
            for (index i = begin; i < end; ++i)
                sum += lane_square_distance(x.row(i), y.row(i), x.cols);
            return sum;
        });
    };
    return cpu_kernels::with_contiguous_rows(run, X, Y) ? result : do_squared_distance(reference_tag{}, b, X, Y);
}

template <class B, class S>
double do_squared_norm(cpu_tag, const B& b, matrix_view<const S> X) {
    double result = 0;
    const auto run = [&](auto x) {
        result = cpu_kernels::ordered_sum(b, x.rows, cpu_kernels::row_grain(x.cols), [&](index begin, index end) {
            double sum = 0;
            for (index i = begin; i < end; ++i)
                sum += lane_square_sum(x.row(i), x.cols);
            return sum;
        });
    };
    return cpu_kernels::with_contiguous_rows(run, X) ? result : do_squared_norm(reference_tag{}, b, X);
}

}  // namespace subbit
