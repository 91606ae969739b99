// Binary layers in the memory of a backend: a low_rank_binary_linear<S, B> has the parts of a host's in that of a B.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

#include <utility>

namespace subbit {

/// Layers moved into the backend's memory.
template <class B, class S>
low_rank_binary_linear<S, memory_of<B>> to_backend(const B& b, low_rank_binary_linear<S> host) {
    return {to_backend(b, std::move(host.U)),      to_backend(b, std::move(host.V)),
            to_backend(b, std::move(host.s_post)), to_backend(b, std::move(host.s_pre)),
            to_backend(b, std::move(host.s_mid)),  to_backend(b, std::move(host.bias))};
}

template <class B, class S>
residual_binary_linear<S, memory_of<B>> to_backend(const B& b, residual_binary_linear<S> host) {
    residual_binary_linear<S, memory_of<B>> layer;
    for (auto& path : host.paths)
        layer.paths.push_back(to_backend(b, std::move(path)));
    layer.bias = to_backend(b, std::move(host.bias));
    return layer;
}

}  // namespace subbit
