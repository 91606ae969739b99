// The steps around a layer's products, in loops that a host backend vectorizes (ops/rows.hpp).
#pragma once

#include <subbit/backend/ops/rows.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace subbit {

template <host_backend B, class S>
void do_gather_rows(reference_tag, const B&, matrix_view<const S> table, std::span<const std::int32_t> ids,
                    matrix_view<S> X) {
    for (index t = 0; t < X.rows; ++t)
        std::copy_n(table.row(ids[static_cast<std::size_t>(t)]), X.cols, X.row(t));
}

template <host_backend B, class S>
void do_scale_columns(reference_tag, const B& b, matrix_view<const S> X, std::span<const S> factor,
                      matrix_view<S> out) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *f = factor.data();
            S* y = out.row(t);
#pragma omp simd
            for (index c = 0; c < X.cols; ++c)
                y[c] = x[c] * f[c];
        }
    });
}

template <host_backend B, class S>
void do_add_scaled_columns(reference_tag, const B& b, matrix_view<const S> X, std::span<const S> factor,
                           matrix_view<S> out) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *f = factor.data();
            S* y = out.row(t);
#pragma omp simd
            for (index c = 0; c < X.cols; ++c)
                y[c] += x[c] * f[c];
        }
    });
}

template <host_backend B, class S>
void do_multiply_rows(reference_tag, const B& b, matrix_view<const S> X, matrix_view<const S> W, matrix_view<S> Y) {
    vectorized_for(b, W.rows, 64, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index t = 0; t < X.rows; ++t) {
                const S *w = W.row(i), *x = X.row(t);
                S sum = 0;
#pragma omp simd reduction(+ : sum)
                for (index c = 0; c < W.cols; ++c)
                    sum += w[c] * x[c];
                Y(t, i) = sum;
            }
    });
}

template <host_backend B, class S>
void do_add_to_rows(reference_tag, const B& b, matrix_view<S> Y, std::span<const S> row) {
    vectorized_for(b, Y.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            S* y = Y.row(t);
            for (index c = 0; c < Y.cols; ++c)
                y[c] += row[static_cast<std::size_t>(c)];
        }
    });
}

template <host_backend B, class S>
void do_token_dots(reference_tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> sums) {
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S *x = X.row(t), *y = Y.row(t);
#pragma omp simd
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += x[c] * y[c];
        }
    });
}

template <host_backend B, class S>
void do_token_dots_and_scale(reference_tag, const B& b, matrix_view<S> X, matrix_view<const S> Y, std::span<S> sums,
                             std::span<const S> factor) {
    token_dots(b, matrix_view<const S>(X), Y, sums);
    scale_columns(b, matrix_view<const S>(X), factor, X);
}

template <host_backend B, class S>
void do_token_sums(reference_tag, const B& b, matrix_view<const S> X, std::span<S> sums) {
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S* x = X.row(t);
#pragma omp simd
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += x[c];
        }
    });
}

}  // namespace subbit
