// The small per-column and per-row steps around a layer's products. Sums over tokens are shared out by column, and each
// column is summed in token order, so they do not depend on the number of threads.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace subbit {

/// How many entries of two sign matrices of one shape differ.
inline index count_differences(bit_view a, bit_view b) {
    require_shape("count_differences", b.rows(), b.cols(), a.rows(), a.cols());
    index different = 0;
    for (index w = 0; w < a.word_count(); ++w)
        different += std::popcount(a.words()[w] ^ b.words()[w]);
    return different;
}

/// out(t,c) = X(t,c) factor_c; out may be X.
template <host_backend B, class S>
void scale_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S* x = &X(t, 0);
            S* y = &out(t, 0);
            for (index c = 0; c < X.cols; ++c)
                y[c] = x[c] * factor[static_cast<std::size_t>(c)];
        }
    });
}
/// Y (T, m) = X (T, n) W^T: a plain pass over W for every row of X, which for a few rows beats gemm and its packing.
template <host_backend B, class S>
void multiply_rows(const B& b, matrix_view<const S> X, matrix_view<const S> W, matrix_view<S> Y) {
    require_shape("multiply_rows: W", W.rows, W.cols, Y.cols, X.cols);
    require_shape("multiply_rows: Y", Y.rows, Y.cols, X.rows, W.rows);
    vectorized_for(b, W.rows, 64, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index t = 0; t < X.rows; ++t) {
                const S *w = &W(i, 0), *x = &X(t, 0);
                S sum = 0;
#pragma omp simd reduction(+ : sum)
                for (index c = 0; c < W.cols; ++c)
                    sum += w[c] * x[c];
                Y(t, i) = sum;
            }
    });
}

/// Y(t,:) += row.
template <host_backend B, class S>
void add_to_rows(const B& b, matrix_view<S> Y, std::span<const S> row) {
    vectorized_for(b, Y.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t)
            for (index c = 0; c < Y.cols; ++c)
                Y(t, c) += row[static_cast<std::size_t>(c)];
    });
}

/// sums_c = sum_t X(t,c) Y(t,c).
template <host_backend B, class S>
void column_dots(const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> sums) {
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S *x = &X(t, 0), *y = &Y(t, 0);
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += x[c] * y[c];
        }
    });
}

/// sums_c = sum_t X(t,c).
template <host_backend B, class S>
void column_sums(const B& b, matrix_view<const S> X, std::span<S> sums) {
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t)
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += X(t, c);
    });
}

/// out(t,c) += X(t,c) factor_c.
template <host_backend B, class S>
void add_scaled_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S* x = &X(t, 0);
            S* y = &out(t, 0);
            for (index c = 0; c < X.cols; ++c)
                y[c] += x[c] * factor[static_cast<std::size_t>(c)];
        }
    });
}

}  // namespace subbit
