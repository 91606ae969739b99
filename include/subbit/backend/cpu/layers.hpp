// Whole binary layers (ops/layers.hpp).
#pragma once

#include <subbit/backend/cpu/products.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/layers.hpp>

#include <concepts>
#include <span>

namespace subbit {

template <class B, std::floating_point S>
void do_apply_layers(cpu_tag, const B& b, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                     apply_options options) {
    cpu_kernels::layer_products(cpu_kernels::machine(b), layers, X, options.precision);
}

template <class B, std::floating_point S>
void do_apply_layer(cpu_tag, const B& b, const residual_binary_linear<S>& layer, matrix_view<const S> X,
                    matrix_view<S> Y, apply_options options) {
    cpu_kernels::path_products(cpu_kernels::machine(b), parts_of(layer), X, Y, options.precision);
}

}  // namespace subbit
