// RMSNorm, forward and backward: on the host here, on a GPU in ../gpu/norm.hpp.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/kernel.hpp>
#include <subbit/core/math.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace llama {

using subbit::device_backend;
using subbit::index;
using subbit::matrix;
using subbit::matrix_in;
using subbit::matrix_view;
using subbit::memory_of;
using subbit::vector;
using subbit::vector_in;
using subbit::view;

/// What an RMSNorm adds: `eps` to the mean of squares, `offset` to every weight (1 where a model stores weight - 1).
struct norm_rule {
    double eps = 1e-6;
    double offset = 0;
};

/// 1 / sqrt(mean + eps) for a mean of squares. Squares that overflow give a NaN: the limit, 0, would look like a
/// number.
template <class S>
SUBBIT_KERNEL S inverse_root(S mean, S eps) {
    const S inverse = S(1) / std::sqrt(mean + eps);
    return inverse > 0 ? inverse : std::numeric_limits<S>::quiet_NaN();
}

/// Y = X / rms(X) o (offset + weight) per row, rms = sqrt(mean x^2 + eps); keeps 1/rms per row in inverse_rms.
///
/// X, Y (rows, n), which may not share storage; weight (n). A norm of each head sees its matrix as (tokens * heads,
/// head_dim).
template <device_backend B, class S>
void rms_norm(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule, matrix_view<S> Y,
              vector_in<S, B>& inverse_rms);

/// dX += the gradient through rms_norm; d_weight (or empty) is overwritten by sum_t dY o X / rms.
template <device_backend B, class S>
void rms_norm_backward(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule,
                       const vector_in<S, B>& inverse_rms, matrix_view<const S> dY, matrix_view<S> dX,
                       std::span<S> d_weight);

namespace detail {

/// Rows of n numbers that one thread takes at a time: enough of them where they are short.
inline index norm_rows_at_once(index n) {
    return std::max<index>(16, 16384 / std::max<index>(n, 1));
}

/// dx += the gradient of one row, and d_weight (or null) += dy o x / rms.
template <class S>
void add_norm_gradient(index n, const S* x, const S* weight, S offset, S inverse, const S* dy, S* dx, S* d_weight) {
    S dot = 0;
#pragma omp simd reduction(+ : dot)
    for (index c = 0; c < n; ++c)
        dot += x[c] * (offset + weight[c]) * dy[c];
    const S pull = dot * inverse * inverse / static_cast<S>(n);
    for (index c = 0; c < n; ++c)
        dx[c] += inverse * ((offset + weight[c]) * dy[c] - x[c] * pull);
    if (d_weight == nullptr) return;
    for (index c = 0; c < n; ++c)
        d_weight[c] += dy[c] * x[c] * inverse;
}

}  // namespace detail

template <subbit::host_backend B, class S>
void rms_norm(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule, matrix_view<S> Y,
              vector<S>& inverse_rms) {
    inverse_rms.resize(X.rows);
    const S eps = static_cast<S>(rule.eps), offset = static_cast<S>(rule.offset);
    subbit::vectorized_for(b, X.rows, detail::norm_rows_at_once(X.cols), [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *w = weight.data();
            S* y = Y.row(t);
            S squares = 0;
#pragma omp simd reduction(+ : squares)
            for (index c = 0; c < X.cols; ++c)
                squares += x[c] * x[c];
            const S inverse = inverse_root(squares / static_cast<S>(X.cols), eps);
            inverse_rms(t) = inverse;
#pragma omp simd
            for (index c = 0; c < X.cols; ++c)
                y[c] = x[c] * inverse * (offset + w[c]);
        }
    });
}

/// The weights' gradient is summed in S over chunks of rows first, whose size depends on the shape alone.
template <subbit::host_backend B, class S>
void rms_norm_backward(const B& b, matrix_view<const S> X, std::span<const S> weight, const norm_rule& rule,
                       const vector<S>& inverse_rms, matrix_view<const S> dY, matrix_view<S> dX,
                       std::span<S> d_weight) {
    const index chunk = detail::norm_rows_at_once(X.cols), chunks = (X.rows + chunk - 1) / chunk;
    const S offset = static_cast<S>(rule.offset);
    matrix<S> partial = matrix<S>::Zero(d_weight.empty() ? 0 : chunks, X.cols);
    subbit::vectorized_for(b, chunks, 1, [&](index begin, index end) {
        for (index t = begin * chunk; t < std::min(end * chunk, X.rows); ++t)
            detail::add_norm_gradient(X.cols, X.row(t), weight.data(), offset, inverse_rms(t), dY.row(t), dX.row(t),
                                      d_weight.empty() ? nullptr : partial.row(t / chunk).data());
    });
    if (d_weight.empty()) return;
    std::ranges::fill(d_weight, S(0));
    for (index i = 0; i < chunks; ++i)
        for (index c = 0; c < X.cols; ++c)
            d_weight[static_cast<std::size_t>(c)] += partial(i, c);
}

}  // namespace llama
