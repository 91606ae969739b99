// The gate of an MLP, forward and backward: on the host here, on a GPU in ../gpu/gate.hpp.
#pragma once

#include "model/norm.hpp"

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/kernel.hpp>
#include <subbit/core/math.hpp>
#include <subbit/core/matrix.hpp>

#include <type_traits>

namespace llama {

/// silu(x) = x / (1 + e^-x); gelu_tanh(x) = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
enum class activation { silu, gelu_tanh };

// Both are x sigmoid(u(x)), since (1 + tanh(z)) / 2 = sigmoid(2z); e^-u may be infinite, which leaves a sigmoid of 0.

/// u(x).
template <class S>
SUBBIT_KERNEL constexpr S gate_exponent(activation kind, S x) {
    constexpr S linear = static_cast<S>(1.5957691216057307118), cubic = static_cast<S>(0.044715);  // 2 sqrt(2/pi)
    return kind == activation::silu ? x : linear * (x + cubic * x * x * x);
}

/// The derivative of x sigmoid(u(x)), where sigmoid(u(x)) = s. GELU's cube is taken of an x within 32, beyond which s
/// is 0 or 1 in either precision and u'(x) does not matter.
template <class S>
SUBBIT_KERNEL constexpr S gate_slope(activation kind, S x, S s) {
    if (kind == activation::silu) return s * (S(1) + x * (S(1) - s));
    constexpr S linear = static_cast<S>(1.5957691216057307118), three_cubic = static_cast<S>(3 * 0.044715), most = 32;
    const S near = x > most ? most : (x > -most ? x : -most);
    return s * (S(1) + near * (S(1) - s) * linear * (S(1) + three_cubic * near * near));
}

/// H = act(G) o U.
template <device_backend B, class S>
void gated(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U, matrix_view<S> H);

/// dG and dU from dH; dG may be dH's storage.
template <device_backend B, class S>
void gated_backward(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U,
                    matrix_view<const S> dH, matrix_view<S> dG, matrix_view<S> dU);

namespace detail {

/// f(activation as a constant), so that a loop is compiled for each of them.
template <class F>
void with_activation(activation kind, F&& f) {
    if (kind == activation::silu)
        f(std::integral_constant<activation, activation::silu>());
    else
        f(std::integral_constant<activation, activation::gelu_tanh>());
}

}  // namespace detail

template <subbit::host_backend B, class S>
void gated(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U, matrix_view<S> H) {
    detail::with_activation(kind, [&](auto act) {
        subbit::vectorized_for(b, G.rows, 8, [&](index begin, index end) {
            for (index t = begin; t < end; ++t) {
                const S *g = G.row(t), *u = U.row(t);
                S* h = H.row(t);
#pragma omp simd
                for (index c = 0; c < G.cols; ++c)
                    h[c] = g[c] / (S(1) + subbit::fast_exp(-gate_exponent(act(), g[c]))) * u[c];
            }
        });
    });
}

template <subbit::host_backend B, class S>
void gated_backward(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U,
                    matrix_view<const S> dH, matrix_view<S> dG, matrix_view<S> dU) {
    detail::with_activation(kind, [&](auto act) {
        subbit::vectorized_for(b, G.rows, 8, [&](index begin, index end) {
            for (index t = begin; t < end; ++t) {
                const S *g = G.row(t), *u = U.row(t), *dh = dH.row(t);
                S *dg = dG.row(t), *du = dU.row(t);
#pragma omp simd  // dG may be dH: the same element only, so the lanes never meet
                for (index c = 0; c < G.cols; ++c) {
                    const S s = S(1) / (S(1) + subbit::fast_exp(-gate_exponent(act(), g[c])));
                    const S d = dh[c];
                    du[c] = d * g[c] * s;
                    dg[c] = d * u[c] * gate_slope(act(), g[c], s);
                }
            }
        });
    });
}

}  // namespace llama
