// Whole binary layers on the device: uploaded once, then one launch for all V of a job and one for all U.
#pragma once

#include <subbit/backend/gpu/memory.hpp>
#include <subbit/backend/gpu/packed/products.hpp>
#include <subbit/backend/ops/layers.hpp>
#include <subbit/bits/layer_view.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/core/half.hpp>

#include <initializer_list>
#include <span>
#include <type_traits>
#include <vector>

namespace subbit {

namespace gpu {

/// The product of a residual layer in the device's memory, for a launch: Y (T,m) for X (T,n).
template <class Device, class In, class Out, class Real>
packed_output<In, Out, Real> residual_output(const residual_binary_linear<Real, gpu_backend<Device>>& layer,
                                             matrix_view<const In> X, matrix_view<Out> Y) {
    const residual_view<Real> parts = parts_of(layer);
    packed_output<In, Out, Real> out;
    out.part_count = parts.count;
    for (int p = 0; p < parts.count; ++p)
        out.parts[p] = {parts.paths[p].B, X, parts.paths[p].s_pre, parts.paths[p].s_post, {}};
    out.bias = parts.bias;
    out.Y = Y;
    return out;
}

}  // namespace gpu

/// A layer on the device and the place of its outputs, for apply_layers.
template <class Device, class Out, class Real = float>
struct device_layer_output {
    const low_rank_binary_linear<Real, gpu_backend<Device>>& layer;
    matrix_view<Out> Y;  ///< (T,m)
    Real beta = 0;       ///< factor of the old Y, which is added: 1 for a residual connection
};

namespace gpu {

/// apply_layers() for few vectors on devices with bulk copies: one launch for all V, whose outputs are planes, and one
/// for all U.
template <class Device, class In, class Out>
void apply_staged(const gpu_backend<Device>& b, matrix_view<const In> X,
                  std::span<const device_layer_output<Device, Out, float>> layers,
                  packed_workspace<Device, float>& work) {
    using input = vector_output<scaled_vectors<In>, plane_target>;
    using output = vector_output<stored_planes, matrix_target<Out>>;
    index groups = 0;
    for (const auto& part : layers)
        groups += plane_view::groups(part.layer.rank());
    std::uint32_t* next = work.planes(X.rows * groups * 32);
    float* next_scale = work.to_real(X.rows * std::ssize(layers));
    std::vector<input> inner(layers.size());
    std::vector<output> outer(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const low_rank_view<float> layer = parts_of(layers[l].layer);
        const plane_view hidden{next, next_scale, static_cast<int>(layer.rank())};
        inner[l].parts[0] = {layer.V, scaled_vectors<In>(X, layer.s_pre), nullptr};
        inner[l].target = {layer.s_mid, hidden};
        outer[l].parts[0] = {layer.U, {hidden}, layer.s_post};
        outer[l].target = {layer.bias, layers[l].Y, 1, layers[l].beta};
        next += X.rows * plane_view::groups(layer.rank()) * 32;
        next_scale += X.rows;
    }
    staged_products(b, std::span<const input>(inner), X.rows);
    staged_products(b, std::span<const output>(outer), X.rows);
}

/// Calls multiply(outputs) for all V, whose products are Hidden numbers, and then for all U. Rounded ones are scaled
/// between the factors before they are rounded.
template <class Device, class In, class Out, class Real, class Hidden, class Multiply>
void apply_factors(matrix_view<const In> X, std::span<const device_layer_output<Device, Out, Real>> layers,
                   Hidden* next, Multiply multiply) {
    constexpr bool rounded = !std::is_same_v<Hidden, Real>;
    std::vector<packed_output<In, Hidden, Real>> inner(layers.size());
    std::vector<packed_output<Hidden, Out, Real>> outer(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const low_rank_view<Real> layer = parts_of(layers[l].layer);
        const matrix_view<Hidden> hidden(next, X.rows, layer.rank());
        inner[l].parts[0] = {layer.V, X, layer.s_pre, rounded ? layer.s_mid : nullptr, {}};
        inner[l].Y = hidden;
        outer[l].parts[0] = {layer.U, hidden, rounded ? nullptr : layer.s_mid, layer.s_post, {}};
        outer[l].bias = layer.bias;
        outer[l].Y = layers[l].Y;
        outer[l].beta = layers[l].beta;
        next += hidden.size();
    }
    multiply(std::span<const packed_output<In, Hidden, Real>>(inner));
    multiply(std::span<const packed_output<Hidden, Out, Real>>(outer));
}

}  // namespace gpu

/// Several layers on the device that read the same X (T,n), as one job; In and Out are Real, or f16 or bf16 for float
/// layers, whose sums are made as if in float. Throws shape_error.
template <class Device, class In, class Out, class Real>
void apply_layers(const gpu_backend<Device>& b, matrix_view<const In> X,
                  std::span<const device_layer_output<Device, Out, Real>> layers,
                  gpu::packed_workspace<Device, Real>& work, apply_options options = {}) {
    index ranks = 0;
    for (const auto& part : layers) {
        require_shape("apply: X", X.rows, X.cols, X.rows, part.layer.cols());
        require_shape("apply: Y", part.Y.rows, part.Y.cols, X.rows, part.layer.rows());
        ranks += part.layer.rank();
    }
    if constexpr (std::is_same_v<Real, float>)
        if (X.rows <= gpu::most_vectors(b) && b.device().has_warpgroup_products())
            return gpu::apply_staged(b, X, layers, work);
    if constexpr (sizeof(Real) == 4)
        if (options.precision == packed_precision::bf16 && b.device().has_warpgroup_products())
            return gpu::apply_factors(X, layers, work.rounded_hidden(X.rows * ranks),
                                      [&](auto outputs) { gpu::rounded_products(b, outputs, work); });
    gpu::apply_factors(X, layers, work.hidden(X.rows * ranks),
                       [&](auto outputs) { gpu::packed_products(b, outputs, work); });
}
/// The same for a list: apply_layers(b, X, {{q, Q}, {k, K}, {v, V}}, work).
template <class Device, class In, class Real>
void apply_layers(const gpu_backend<Device>& b, matrix_view<const In> X,
                  std::initializer_list<device_layer_output<Device, In, std::type_identity_t<Real>>> layers,
                  gpu::packed_workspace<Device, Real>& work, apply_options options = {}) {
    apply_layers(b, X, std::span<const device_layer_output<Device, In, Real>>(layers.begin(), layers.size()), work,
                 options);
}

/// Here the layers' parts are in the host's memory, and are copied for this call; upload() makes layers that stay on
/// the device.
template <class Device, class S>
void do_apply_layers(gpu_tag, const gpu_backend<Device>& b, std::span<const layer_output<S>> layers,
                     matrix_view<const S> X, apply_options options) {
    std::vector<low_rank_binary_linear<S, gpu_backend<Device>>> uploaded;
    uploaded.reserve(layers.size());
    std::vector<device_layer_output<Device, S, S>> outputs;
    for (const auto& part : layers) {
        uploaded.push_back(upload(b, part.layer));
        outputs.push_back({uploaded.back(), part.Y});
    }
    gpu::packed_workspace<Device, S> work(b);
    apply_layers(b, X, std::span<const device_layer_output<Device, S, S>>(outputs), work, options);
}

template <class Device, class S>
void do_apply_layer(gpu_tag, const gpu_backend<Device>& b, const residual_binary_linear<S, gpu_backend<Device>>& layer,
                    matrix_view<const S> X, matrix_view<S> Y, apply_options) {
    gpu::packed_workspace<Device, S> work(b);
    const auto output = gpu::residual_output(layer, X, Y);
    gpu::packed_products(b, std::span<const gpu::packed_output<S, S, S>>(&output, 1), work);
}
template <class Device, class S>
void do_apply_layer(gpu_tag tag, const gpu_backend<Device>& b, const residual_binary_linear<S>& layer,
                    matrix_view<const S> X, matrix_view<S> Y, apply_options options) {
    do_apply_layer(tag, b, upload(b, layer), X, Y, options);
}

}  // namespace subbit
