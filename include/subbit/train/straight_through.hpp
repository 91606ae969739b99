// Straight-through estimators: what stands in for the derivative of sign when a latent is tuned.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/core/matrix.hpp>

#include <cmath>
#include <span>

namespace subbit {

/// Which surrogate derivative of sign(x) the backward pass uses (spec: NanoQuant identity; LittleBit the other two).
enum class straight_through {
    identity,  ///< 1
    clipped,   ///< 1 for |x| < 1, else 0
    smooth,    ///< SmoothSign: 100 (1 - tanh^2(100 x)), the derivative of tanh(100 x)
};

/// The surrogate derivative of sign at the latent x.
template <class Scalar>
Scalar straight_through_derivative(straight_through kind, Scalar x) {
    switch (kind) {
        case straight_through::clipped:
            return std::abs(x) < Scalar(1) ? Scalar(1) : Scalar(0);
        case straight_through::smooth: {
            const Scalar t = std::tanh(Scalar(100) * x);
            return Scalar(100) * (Scalar(1) - t * t);
        }
        case straight_through::identity:
            break;
    }
    return Scalar(1);
}

/// Turns the gradient with respect to sign(latent) into the latent's own, in place; both contiguous and of one shape.
template <host_backend B, class S>
void apply_straight_through(const B& b, straight_through kind, matrix_view<const S> latent, matrix_view<S> gradient) {
    if (kind == straight_through::identity) return;
    require_shape("apply_straight_through: gradient", gradient.rows, gradient.cols, latent.rows, latent.cols);
    vectorized_for(b, latent.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < latent.cols; ++j)
                gradient(i, j) *= straight_through_derivative(kind, latent(i, j));
    });
}

/// Adds `share` of the mean magnitude to every entry's own; signs stay, and zeros become positive as sign(0) is.
template <class S>
void widen_margin(std::span<S> latent, double share, double mean_magnitude) {
    const S margin = static_cast<S>(share * mean_magnitude);
    for (S& x : latent)
        x += x >= S(0) ? margin : -margin;
}

}  // namespace subbit
