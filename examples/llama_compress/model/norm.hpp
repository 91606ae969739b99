// RMSNorm and SwiGLU, forward and backward: on the host here, on a GPU in ../gpu/norm.hpp.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/math.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cmath>
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

/// Y = X / rms(X) o weight per row, rms = sqrt(mean x^2 + eps); keeps 1/rms per row in inverse_rms.
template <device_backend B, class S>
void rms_norm(const B& b, matrix_view<const S> X, std::span<const S> weight, double eps, matrix_view<S> Y,
              vector_in<S, B>& inverse_rms);

template <subbit::host_backend B, class S>
void rms_norm(const B& b, matrix_view<const S> X, std::span<const S> weight, double eps, matrix_view<S> Y,
              vector<S>& inverse_rms) {
    inverse_rms.resize(X.rows);
    subbit::vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S* x = X.row(t);
            S* y = Y.row(t);
            S squares = 0;
#pragma omp simd reduction(+ : squares)
            for (index c = 0; c < X.cols; ++c)
                squares += x[c] * x[c];
            const S inverse = S(1) / std::sqrt(squares / static_cast<S>(X.cols) + static_cast<S>(eps));
            inverse_rms(t) = inverse;
            for (index c = 0; c < X.cols; ++c)
                y[c] = x[c] * inverse * weight[static_cast<std::size_t>(c)];
        }
    });
}

/// dX += the gradient through rms_norm; d_weight (or empty) is overwritten by sum_t dY o X / rms.
template <device_backend B, class S>
void rms_norm_backward(const B& b, matrix_view<const S> X, std::span<const S> weight,
                       const vector_in<S, B>& inverse_rms, matrix_view<const S> dY, matrix_view<S> dX,
                       std::span<S> d_weight);

template <subbit::host_backend B, class S>
void rms_norm_backward(const B& b, matrix_view<const S> X, std::span<const S> weight, const vector<S>& inverse_rms,
                       matrix_view<const S> dY, matrix_view<S> dX, std::span<S> d_weight) {
    subbit::vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *x = X.row(t), *dy = dY.row(t), *w = weight.data();
            S* dx = dX.row(t);
            const S inverse = inverse_rms(t);
            S dot = 0;
#pragma omp simd reduction(+ : dot)
            for (index c = 0; c < X.cols; ++c)
                dot += x[c] * w[c] * dy[c];
            const S pull = dot * inverse * inverse / static_cast<S>(X.cols);
            for (index c = 0; c < X.cols; ++c)
                dx[c] += inverse * (w[c] * dy[c] - x[c] * pull);
        }
    });
    if (d_weight.empty()) return;
    subbit::vectorized_for(b, X.cols, 64, [&](index begin, index end) {
        std::fill(d_weight.begin() + begin, d_weight.begin() + end, S(0));
        for (index t = 0; t < X.rows; ++t) {
            const S inverse = inverse_rms(t);
            for (index c = begin; c < end; ++c)
                d_weight[static_cast<std::size_t>(c)] += dY(t, c) * X(t, c) * inverse;
        }
    });
}

/// H = silu(G) o U with silu(x) = x / (1 + e^-x).
template <device_backend B, class S>
void swiglu(const B& b, matrix_view<const S> G, matrix_view<const S> U, matrix_view<S> H);

template <subbit::host_backend B, class S>
void swiglu(const B& b, matrix_view<const S> G, matrix_view<const S> U, matrix_view<S> H) {
    subbit::vectorized_for(b, G.rows, 8, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *g = G.row(t), *u = U.row(t);
            S* h = H.row(t);
#pragma omp simd
            for (index c = 0; c < G.cols; ++c)
                h[c] = g[c] / (S(1) + subbit::fast_exp(-g[c])) * u[c];
        }
    });
}

/// dG and dU from dH; dG may be dH's storage.
template <device_backend B, class S>
void swiglu_backward(const B& b, matrix_view<const S> G, matrix_view<const S> U, matrix_view<const S> dH,
                     matrix_view<S> dG, matrix_view<S> dU);

template <subbit::host_backend B, class S>
void swiglu_backward(const B& b, matrix_view<const S> G, matrix_view<const S> U, matrix_view<const S> dH,
                     matrix_view<S> dG, matrix_view<S> dU) {
    subbit::vectorized_for(b, G.rows, 8, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *g = G.row(t), *u = U.row(t), *dh = dH.row(t);
            S *dg = dG.row(t), *du = dU.row(t);
#pragma omp simd  // dG may be dH: the same element only, so the lanes never meet
            for (index c = 0; c < G.cols; ++c) {
                const S s = S(1) / (S(1) + subbit::fast_exp(-g[c]));
                const S d = dh[c];
                du[c] = d * g[c] * s;
                dg[c] = d * u[c] * s * (S(1) + g[c] * (S(1) - s));
            }
        }
    });
}

}  // namespace llama
