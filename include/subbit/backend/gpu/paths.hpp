// The operations of residual binarization (ops/paths.hpp). Words and scales of paths in the host's memory are copied
// for each call; those of a layer in training stay on the device.
#pragma once

#include <subbit/backend/gpu/kernels/paths.hpp>
#include <subbit/backend/gpu/kernels/reductions.hpp>
#include <subbit/backend/ops/paths.hpp>

#include <span>

namespace subbit {

template <class Device, class S>
void do_couple_paths(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> W, std::span<binary_path<S>> paths) {
    if (paths.empty() || W.size() == 0) return;
    gpu::device_paths<Device, S> device(b, std::span<const binary_path<S>>(paths), false);
    gpu::couple_words<S> kernel{W, device.parts(), {}};
    for (std::size_t p = 0; p < paths.size(); ++p)
        kernel.words[p] = device.words(p);
    b.launch(gpu::cover_by_warps(W.rows * bit_layout::col_groups(W.cols)), kernel);
    for (std::size_t p = 0; p < paths.size(); ++p)
        paths[p].B = gpu::download_bits(b, device.words(p), W.rows, W.cols);
}

template <class Device, class S>
void do_expand_paths(gpu_tag, const gpu_backend<Device>& b, std::span<const binary_path<S>> paths, matrix_view<S> W) {
    if (W.size() == 0) return;
    const gpu::device_paths<Device, S> device(b, paths, true);
    b.launch(gpu::cover(W.size()), gpu::entries<gpu::expand_entry<S>>{W.rows, W.cols, {W, device.parts()}});
}

template <class Device, class S>
void do_path_gradients(gpu_tag tag, const gpu_backend<Device>& b, matrix_view<const S> G,
                       std::span<const binary_path<S>> paths, std::span<vector<S>> d_post, std::span<vector<S>> d_pre) {
    if (paths.empty()) return;
    const gpu::device_paths<Device, S> device(b, paths, true);
    const auto& all = device.parts();
    gpu::device_vector<Device, S> post(b.device(), G.rows), pre(b.device(), G.cols);
    for (std::size_t p = 0; p < paths.size(); ++p) {
        gpu::sum_rows(b, G.rows, G.cols, gpu::runs_along(G),
                      gpu::signed_sum<S>{G, all.paths[p].B, false, all.paths[p].s_pre, span_of(post).data()});
        gpu::sum_rows(b, G.cols, G.rows, gpu::runs_along(G.t()),
                      gpu::signed_sum<S>{G.t(), all.paths[p].B, true, all.paths[p].s_post, span_of(pre).data()});
        d_post[p] = do_download(tag, b, std::span<const S>(span_of(post)));
        d_pre[p] = do_download(tag, b, std::span<const S>(span_of(pre)));
    }
}

template <class Device, class S>
void do_couple_paths(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> W,
                     std::span<binary_path<S, gpu_backend<Device>>> paths) {
    if (paths.empty() || W.size() == 0) return;
    gpu::couple_words<S> kernel{W, parts_of(std::span<const binary_path<S, gpu_backend<Device>>>(paths)), {}};
    for (std::size_t p = 0; p < paths.size(); ++p)
        kernel.words[p] = paths[p].B.words().data();
    b.launch(gpu::cover_by_warps(W.rows * bit_layout::col_groups(W.cols)), kernel);
}

template <class Device, class S>
void do_expand_paths(gpu_tag, const gpu_backend<Device>& b, std::span<const binary_path<S, gpu_backend<Device>>> paths,
                     matrix_view<S> W) {
    if (W.size() == 0) return;
    b.launch(gpu::cover(W.size()), gpu::entries<gpu::expand_entry<S>>{W.rows, W.cols, {W, parts_of(paths)}});
}

template <class Device, class S>
void do_path_gradients(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> G,
                       std::span<const binary_path<S, gpu_backend<Device>>> paths,
                       std::span<gpu::device_vector<Device, S>> d_post,
                       std::span<gpu::device_vector<Device, S>> d_pre) {
    if (paths.empty()) return;
    const auto all = parts_of(paths);
    for (std::size_t p = 0; p < paths.size(); ++p) {
        gpu::sum_rows(b, G.rows, G.cols, gpu::runs_along(G),
                      gpu::signed_sum<S>{G, all.paths[p].B, false, all.paths[p].s_pre, span_of(d_post[p]).data()});
        gpu::sum_rows(b, G.cols, G.rows, gpu::runs_along(G.t()),
                      gpu::signed_sum<S>{G.t(), all.paths[p].B, true, all.paths[p].s_post, span_of(d_pre[p]).data()});
    }
}

/// Throws value_error for more than max_paths paths.
template <class B, class S>
void do_fit_path_rows(gpu_tag, const B& b, matrix_view<const S> T, std::span<const path_scales<S>> paths) {
    if (paths.empty() || T.rows == 0) return;
    require_path_count("fit_path_rows", std::ssize(paths));
    gpu::fit_rows_of_paths<S> kernel{T, static_cast<int>(paths.size()), {}};
    for (std::size_t p = 0; p < paths.size(); ++p)
        kernel.paths[p] = {paths[p].signs, paths[p].rows.data(), paths[p].cols.data()};
    b.launch(gpu::cover_by_warps(T.rows), kernel);
}

}  // namespace subbit
