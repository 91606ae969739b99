// A compressed layer as bytes, exact to the last bit, to be sent to another rank.
#pragma once

#include <subbit/distribute/bytes.hpp>
#include <subbit/recon/linear_layer.hpp>

namespace subbit {

namespace detail {

/// Calls f for every part of a layer in a fixed order; its vectors of parts have their final length.
template <class Layer, class F>
void visit_parts(Layer& binary, const F& f) requires requires {
    binary.U_latent;
}
{
    f(binary.layer.U), f(binary.layer.V);
    f(binary.layer.s_post), f(binary.layer.s_pre), f(binary.layer.s_mid), f(binary.layer.bias);
    f(binary.U_latent), f(binary.V_latent);
    f(binary.estimator);
}
template <class Layer, class F>
void visit_parts(Layer& residual, const F& f) requires requires {
    residual.latents;
}
{
    for (auto& path : residual.layer.paths)
        f(path.B), f(path.s_post), f(path.s_pre);
    f(residual.layer.bias);
    for (auto& latent : residual.latents)
        f(latent);
}

}  // namespace detail

/// Appends a compressed layer of the host; value_error for a dense one.
template <class S>
void put(byte_writer& to, const linear_layer<S>& layer) {
    to.put(layer.is_residual());
    if (layer.is_residual()) {
        to.put(layer.residual().layer.paths.size());
        to.put(layer.residual().latents.size());
    }
    layer.visit_compressed(
        [&](const auto& compressed) { detail::visit_parts(compressed, [&](const auto& part) { to.put(part); }); });
}

/// Takes a layer that put() has appended.
template <class S>
void get(byte_reader& from, linear_layer<S>& layer) {
    const auto take = [&](auto compressed) {
        detail::visit_parts(compressed, [&](auto& part) { from.get(part); });
        layer = std::move(compressed);
    };
    bool is_residual = false;
    from.get(is_residual);
    if (!is_residual) return take(binary_linear<S>{});
    residual_linear<S> residual;
    std::size_t paths = 0, latents = 0;
    from.get(paths), from.get(latents);
    residual.layer.paths.resize(paths);
    residual.latents.resize(latents);
    take(std::move(residual));
}

}  // namespace subbit
