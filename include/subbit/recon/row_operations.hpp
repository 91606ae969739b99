// The small per-column and per-row steps around a layer's products. Sums over tokens are shared out by column, and each
// column is summed in token order, so they do not depend on the number of threads.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/bits/bit_matrix.hpp>
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
template <host_backend B, class S>
void scale_columns(const B& b, matrix_view<const S> X, std::span<S> factor, matrix_view<S> out) {
    scale_columns(b, X, std::span<const S>(factor), out);
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

/// out += diag(left) X diag(right); an empty span stands for ones.
template <host_backend B, class S>
void add_scaled(const B& b, matrix_view<const S> X, std::span<const S> left, std::span<const S> right,
                matrix_view<S> out) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S l = left.empty() ? S(1) : left[static_cast<std::size_t>(i)];
            const S* x = &X(i, 0);
            S* y = &out(i, 0);
            if (right.empty())
                for (index j = 0; j < X.cols; ++j)
                    y[j] += l * x[j];
            else
                for (index j = 0; j < X.cols; ++j)
                    y[j] += l * x[j] * right[static_cast<std::size_t>(j)];
        }
    });
}
template <host_backend B, class S>
void add_scaled(const B& b, matrix_view<const S> X, std::span<S> left, std::span<const S> right, matrix_view<S> out) {
    add_scaled(b, X, std::span<const S>(left), right, out);
}
template <host_backend B, class S>
void add_scaled(const B& b, matrix_view<const S> X, std::span<const S> left, std::span<S> right, matrix_view<S> out) {
    add_scaled(b, X, left, std::span<const S>(right), out);
}

/// The sign of entry k of a word, as +1 or -1.
template <class S>
S sign_of_bit(std::uint32_t word, index k) {
    return (word >> k & 1U) != 0 ? S(1) : S(-1);
}

/// sums_i = sum_j X(i,j) sign(i,j), unless `sums` is empty; then X(i,:) *= factor_i.
template <host_backend B, class S>
void signed_row_sums(const B& b, matrix_view<S> X, bit_view signs, std::span<const S> factor, std::span<S> sums) {
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            S* x = &X(i, 0);
            const S f = factor[static_cast<std::size_t>(i)];
            S total = 0;
            for (index j0 = 0; j0 < X.cols; j0 += 32) {
                const std::uint32_t word = signs.word(i, j0 / 32);
                const index stop = std::min<index>(32, X.cols - j0);
#pragma omp simd reduction(+ : total)
                for (index j = 0; j < stop; ++j) {
                    total += sign_of_bit<S>(word, j) * x[j0 + j];
                    x[j0 + j] *= f;
                }
            }
            if (!sums.empty()) sums[static_cast<std::size_t>(i)] = total;
        }
    });
}

/// sums_j = sum_i X(i,j) sign(i,j), unless `sums` is empty; then X(:,j) *= factor_j.
template <host_backend B, class S>
void signed_column_sums(const B& b, matrix_view<S> X, bit_view signs, std::span<const S> factor, std::span<S> sums) {
    vectorized_for(b, (X.cols + 31) / 32, 2, [&](index begin, index end) {
        S totals[32];
        for (index w = begin; w < end; ++w) {
            const index j0 = 32 * w, stop = std::min<index>(32, X.cols - j0);
            std::fill(totals, totals + 32, S(0));
            for (index i = 0; i < X.rows; ++i) {
                const std::uint32_t word = signs.word(i, w);
                S* x = &X(i, j0);
#pragma omp simd
                for (index j = 0; j < stop; ++j) {
                    totals[j] += sign_of_bit<S>(word, j) * x[j];
                    x[j] *= factor[static_cast<std::size_t>(j0 + j)];
                }
            }
            if (!sums.empty()) std::copy(totals, totals + stop, sums.begin() + j0);
        }
    });
}

/// Overloads for factors that are not const.
template <host_backend B, class S>
void signed_row_sums(const B& b, matrix_view<S> X, bit_view signs, std::span<S> factor, std::span<S> sums) {
    signed_row_sums(b, X, signs, std::span<const S>(factor), sums);
}
template <host_backend B, class S>
void signed_column_sums(const B& b, matrix_view<S> X, bit_view signs, std::span<S> factor, std::span<S> sums) {
    signed_column_sums(b, X, signs, std::span<const S>(factor), sums);
}

}  // namespace subbit
