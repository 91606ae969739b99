// The binary layers' apply() by unpacked matrices (ops/layers.hpp).
#pragma once

#include <subbit/backend/ops/layers.hpp>

#include <span>

namespace subbit {

template <class B, class S>
void do_apply_layers(reference_tag, const B&, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                     apply_options) {
    for (const auto& [layer, Y] : layers) {
        matrix<S> hidden = as_eigen(X) * layer.s_pre.asDiagonal() * layer.V.template unpack<S>().transpose();
        if (layer.s_mid.size() != 0) hidden = hidden * layer.s_mid.asDiagonal();
        matrix<S> out = hidden * layer.U.template unpack<S>().transpose() * layer.s_post.asDiagonal();
        if (layer.bias.size() != 0) out.rowwise() += layer.bias.transpose();
        as_eigen(Y) = out;
    }
}

template <class B, class S>
void do_apply_layer(reference_tag, const B&, const residual_binary_linear<S>& layer, matrix_view<const S> X,
                    matrix_view<S> Y, apply_options) {
    matrix<S> out = as_eigen(X) * layer.dense().transpose();
    if (layer.bias.size() != 0) out.rowwise() += layer.bias.transpose();
    as_eigen(Y) = out;
}

}  // namespace subbit
