// A compressed layer between solver and file: it can be tuned, compared with its original, and rounded.
#pragma once

#include <subbit/backend/ops/train.hpp>
#include <subbit/bits/round_scales.hpp>
#include <subbit/calib/moments.hpp>
#include <subbit/factor/factorization.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <span>
#include <string>
#include <utility>

namespace subbit {

/// The result of a factorization: a compressed layer with its latents, on the host and without a bias, and its relative
/// error in the metric of the solver.
template <class S>
struct compressed_layer {
    linear_layer<S> layer;
    double error = 0;
};

/// A solver's result as a layer that can be tuned.
template <class S>
binary_linear<S> trainable_layer(factorization<S> solved, straight_through estimator = straight_through::identity) {
    binary_linear<S> binary;
    binary.layer = solved.pack();
    binary.U_latent = std::move(solved.U_latent);
    binary.V_latent = std::move(solved.V_latent);
    binary.estimator = estimator;
    return binary;
}

/// ||D (W - What) E||^2 / ||D W E||^2 (docs/method.md, eq. 12) with W (m,n), a copy in the backend's memory that is
/// overwritten, What the weight of a compressed layer (value_error for a dense one), and D and E the roots of the
/// moments.
template <class B, class S>
double weighted_error(const B& b, matrix_in<S, memory_of<B>> W, const linear_layer<S, memory_of<B>>& layer,
                      const layer_moments<S>& moments) {
    auto difference = allocate<S>(b, layer.rows(), layer.cols());
    layer.visit_compressed([&](const auto& compressed) { compressed.expand(b, view(difference)); });
    axpby(b, 1, W, -1, difference);
    const auto columns = upload(b, moments.input), rows = upload(b, vector<S>(moments.output.cwiseSqrt()));
    for (auto* m : {&W, &difference})
        scale(b, *m, const_span(rows), std::span<const S>());
    const double norm = weighted_square(b, const_view(W), const_span(columns));
    return norm > 0 ? weighted_square(b, const_view(difference), const_span(columns)) / norm : 0;
}

/// Rounds a compressed layer's scales to those of files; value_error naming `name` if one is out of range, and for a
/// dense layer.
template <class B, class S>
void round_scales(const B& b, linear_layer<S, memory_of<B>>& layer, const std::string& name,
                  scale_format format = scale_format::f16) {
    layer.visit_compressed([&](auto& compressed) {
        auto rounded = on_host(b, compressed.layer);
        round_scales(rounded, name, format);
        compressed.layer = upload(b, std::move(rounded));
    });
}

}  // namespace subbit
