// Views of binary layers, for kernels: pointers into the memory of any backend, trivially copyable.
#pragma once

#include <subbit/bits/bit_view.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/core/error.hpp>

#include <span>
#include <type_traits>

namespace subbit {

/// diag(s_post) B diag(s_pre) for B (m,n).
template <class S>
struct path_view {
    bit_view B;
    const S* s_post = nullptr;  ///< m
    const S* s_pre = nullptr;   ///< n
};

/// The parts of a low_rank_binary_linear: U (m,r), V (r,n).
template <class S>
struct low_rank_view {
    bit_view U, V;
    const S* s_post = nullptr;  ///< m
    const S* s_pre = nullptr;   ///< n
    const S* s_mid = nullptr;   ///< r, or null: ones
    const S* bias = nullptr;    ///< m, or null: zeros

    index rows() const { return U.rows(); }
    index cols() const { return V.cols(); }
    index rank() const { return U.cols(); }
};

/// The paths of a residual_binary_linear, the coarsest first.
template <class S>
struct residual_view {
    path_view<S> paths[max_paths];
    int count = 0;
    const S* bias = nullptr;  ///< m, or null: zeros
};

static_assert(std::is_trivially_copyable_v<low_rank_view<float>> && std::is_trivially_copyable_v<residual_view<float>>);

namespace detail {

template <class V>
auto data_or_null(const V& v) {
    const auto entries = const_span(v);
    return entries.empty() ? nullptr : entries.data();
}

}  // namespace detail

/// The view of a layer, valid until the layer is changed or destroyed.
template <class S, class Memory>
path_view<S> parts_of(const binary_path<S, Memory>& path) {
    return {path.B.view(), detail::data_or_null(path.s_post), detail::data_or_null(path.s_pre)};
}
template <class S, class Memory>
low_rank_view<S> parts_of(const low_rank_binary_linear<S, Memory>& layer) {
    return {layer.U.view(),
            layer.V.view(),
            detail::data_or_null(layer.s_post),
            detail::data_or_null(layer.s_pre),
            detail::data_or_null(layer.s_mid),
            detail::data_or_null(layer.bias)};
}
/// Throws value_error unless there are 1 to max_paths paths.
template <class S, class Memory>
residual_view<S> parts_of(std::span<const binary_path<S, Memory>> paths) {
    require_path_count("paths", std::ssize(paths));
    residual_view<S> parts;
    for (const auto& path : paths)
        parts.paths[parts.count++] = parts_of(path);
    return parts;
}
template <class S, class Memory>
residual_view<S> parts_of(const residual_binary_linear<S, Memory>& layer) {
    auto parts = parts_of(std::span<const binary_path<S, Memory>>(layer.paths));
    parts.bias = detail::data_or_null(layer.bias);
    return parts;
}

}  // namespace subbit
