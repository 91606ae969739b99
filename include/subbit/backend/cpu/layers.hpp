// Whole binary layers (ops/layers.hpp).
#pragma once

#include <subbit/backend/cpu/dispatch.hpp>
#include <subbit/backend/cpu/kernels/packed_layers.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/layers.hpp>

#include <concepts>
#include <span>

namespace subbit {

template <class B, std::floating_point S>
void do_apply_layers(cpu_tag, const B& b, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                     apply_options options) {
    cpu_kernels::with_packed_kernel<S>(b, options.precision, [&](auto arch, auto kernel) {
        cpu_kernels::packed_layers<decltype(kernel)>(arch, b.exec(), layers, X);
    });
}

template <class B, std::floating_point S>
void do_apply_layer(cpu_tag, const B& b, const residual_binary_linear<S>& layer, matrix_view<const S> X,
                    matrix_view<S> Y) {
    cpu_kernels::with_packed_kernel<S>(b, packed_precision::exact, [&](auto arch, auto kernel) {
        cpu_kernels::packed_paths<decltype(kernel)>(arch, b.exec(), parts_of(layer), X, Y);
    });
}

}  // namespace subbit
