// The gate of an MLP on a GPU (../model/gate.hpp).
#pragma once

#include "model/gate.hpp"

#include <subbit/backend/gpu.hpp>

#include <cmath>

namespace llama {

namespace gpu {

template <class S>
struct gated_entry {
    static constexpr bool overlaps = true;

    activation kind;
    matrix_view<const S> G, U;
    matrix_view<S> H;

    SUBBIT_KERNEL void operator()(index t, index c) const {
        const S g = G(t, c);
        H(t, c) = g / (S(1) + std::exp(-gate_exponent(kind, g))) * U(t, c);
    }
};

/// dG may be dH's storage.
template <class S>
struct gated_gradient_entry {
    activation kind;
    matrix_view<const S> G, U, dH;
    matrix_view<S> dG, dU;

    SUBBIT_KERNEL void operator()(index t, index c) const {
        const S g = G(t, c), u = U(t, c), d = dH(t, c), s = S(1) / (S(1) + std::exp(-gate_exponent(kind, g)));
        dU(t, c) = d * g * s;
        dG(t, c) = d * u * gate_slope(kind, g, s);
    }
};

}  // namespace gpu

template <device_backend B, class S>
void gated(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U, matrix_view<S> H) {
    subbit::gpu::for_row_entries(b, G.rows, G.cols, gpu::gated_entry<S>{kind, G, U, H});
}

template <device_backend B, class S>
void gated_backward(const B& b, activation kind, matrix_view<const S> G, matrix_view<const S> U,
                    matrix_view<const S> dH, matrix_view<S> dG, matrix_view<S> dU) {
    subbit::gpu::for_row_entries(b, G.rows, G.cols, gpu::gated_gradient_entry<S>{kind, G, U, dH, dG, dU});
}

}  // namespace llama
