// Binary layers: what is done with them, and how they come into a backend's memory. A low_rank_binary_linear<S, B> has
// the parts of a host's in that of a B.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <initializer_list>
#include <span>
#include <type_traits>
#include <utility>

namespace subbit {

/// A layer and the place of its outputs, for apply_layers.
template <class S>
struct layer_output {
    const low_rank_binary_linear<S>& layer;
    matrix_view<S> Y;  ///< (T, m)
};

/// Applies several layers to the same X (T,n) as one job. Each Y (T,m) is exactly that of `layer.apply(b, X, Y)`, but
/// threads synchronize only twice, for any number of layers. Throws shape_error.
template <class B, class S>
void apply_layers(const B& b, matrix_view<const S> X, std::span<const layer_output<std::type_identity_t<S>>> layers,
                  apply_options options = {}) {
    for (const auto& [layer, Y] : layers) {
        layer.validate();
        require_shape("apply: X", X.rows, X.cols, X.rows, layer.cols());
        require_shape("apply: Y", Y.rows, Y.cols, X.rows, layer.rows());
    }
    do_apply_layers(typename B::tag{}, b, layers, X, options);
}
/// The same for a list: apply_layers(b, X, {{q, view(Q)}, {k, view(K)}, {v, view(V)}}).
template <class B, class S>
void apply_layers(const B& b, matrix_view<const S> X,
                  std::initializer_list<layer_output<std::type_identity_t<S>>> layers, apply_options options = {}) {
    apply_layers(b, X, std::span<const layer_output<S>>(layers.begin(), layers.size()), options);
}

/// Layers moved into the backend's memory.
template <class B, class S>
low_rank_binary_linear<S, memory_of<B>> upload(const B& b, low_rank_binary_linear<S> host) {
    return {upload(b, std::move(host.U)),     upload(b, std::move(host.V)),     upload(b, std::move(host.s_post)),
            upload(b, std::move(host.s_pre)), upload(b, std::move(host.s_mid)), upload(b, std::move(host.bias))};
}

template <class B, class S>
residual_binary_linear<S, memory_of<B>> upload(const B& b, residual_binary_linear<S> host) {
    residual_binary_linear<S, memory_of<B>> layer;
    for (auto& path : host.paths)
        layer.paths.push_back(upload(b, std::move(path)));
    layer.bias = upload(b, std::move(host.bias));
    return layer;
}

}  // namespace subbit
