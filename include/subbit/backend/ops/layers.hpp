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
