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
#include <string>
#include <vector>

namespace subbit {

/// How many entries of two sign matrices of one shape differ.
inline index count_differences(bit_view a, bit_view b) {
    require_shape("count_differences", b.rows(), b.cols(), a.rows(), a.cols());
    index different = 0;
    for (index w = 0; w < a.word_count(); ++w)
        different += std::popcount(a.words()[w] ^ b.words()[w]);
    return different;
}

/// The share of entries that differ between two lists of sign matrices of the same shapes.
inline double share_flipped(const std::vector<bit_matrix>& before, const std::vector<bit_matrix>& after) {
    require_size("share_flipped", std::ssize(after), std::ssize(before));
    index different = 0, total = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        different += count_differences(before[i], after[i]);
        total += before[i].rows() * before[i].cols();
    }
    return total > 0 ? static_cast<double>(different) / static_cast<double>(total) : 0.0;
}

namespace detail {

/// shape_error unless the matrix has `rows` x `cols` and contiguous rows.
template <class T>
void require_rows(const char* name, matrix_view<T> X, index rows, index cols) {
    require_shape(name, X.rows, X.cols, rows, cols);
    if (!X.is_row_major()) throw shape_error(std::string(name) + " is stored by columns, expected rows");
}

}  // namespace detail

/// out(t,c) = X(t,c) factor_c; out may be X.
template <host_backend B, class S>
void scale_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    detail::require_rows("scale_columns: X", X, out.rows, out.cols);
    detail::require_rows("scale_columns: out", out, X.rows, std::ssize(factor));
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *f = factor.data();
            S* y = out.row(t);
            for (index c = 0; c < X.cols; ++c)
                y[c] = x[c] * f[c];
        }
    });
}

/// out(t,c) += X(t,c) factor_c.
template <host_backend B, class S>
void add_scaled_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    detail::require_rows("add_scaled_columns: X", X, out.rows, out.cols);
    detail::require_rows("add_scaled_columns: out", out, X.rows, std::ssize(factor));
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *f = factor.data();
            S* y = out.row(t);
            for (index c = 0; c < X.cols; ++c)
                y[c] += x[c] * f[c];
        }
    });
}

/// Y (T, m) = X (T, n) W^T: a plain pass over W for every row of X, which for a few rows beats gemm and its packing.
template <host_backend B, class S>
void multiply_rows(const B& b, matrix_view<const S> X, matrix_view<const S> W, matrix_view<S> Y) {
    detail::require_rows("multiply_rows: X", X, Y.rows, W.cols);
    detail::require_rows("multiply_rows: W", W, Y.cols, X.cols);
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

/// Y(t,:) += row.
template <host_backend B, class S>
void add_to_rows(const B& b, matrix_view<S> Y, std::span<const S> row) {
    detail::require_rows("add_to_rows: Y", Y, Y.rows, std::ssize(row));
    vectorized_for(b, Y.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            S* y = Y.row(t);
            for (index c = 0; c < Y.cols; ++c)
                y[c] += row[static_cast<std::size_t>(c)];
        }
    });
}

/// sums_c = sum_t X(t,c) Y(t,c), in the scalar type.
template <host_backend B, class S>
void token_dots(const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> sums) {
    detail::require_rows("token_dots: X", X, Y.rows, std::ssize(sums));
    detail::require_rows("token_dots: Y", Y, X.rows, X.cols);
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S *x = X.row(t), *y = Y.row(t);
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += x[c] * y[c];
        }
    });
}

/// sums_c = sum_t X(t,c), in the scalar type.
template <host_backend B, class S>
void token_sums(const B& b, matrix_view<const S> X, std::span<S> sums) {
    detail::require_rows("token_sums: X", X, X.rows, std::ssize(sums));
    vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(sums.begin() + begin, sums.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S* x = X.row(t);
            for (index c = begin; c < end; ++c)
                sums[static_cast<std::size_t>(c)] += x[c];
        }
    });
}

}  // namespace subbit
