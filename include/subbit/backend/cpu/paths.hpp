// Residual binarization's own operations (ops/paths.hpp) on the cpu backend: one pass over the matrix for all
// paths, 32 columns at a time, as many as a word has signs.
#pragma once

#include <subbit/backend/cpu/kernels/paths.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/paths.hpp>

#include <algorithm>
#include <span>

namespace subbit {

template <class B, class S>
void do_couple_paths(cpu_tag, const B& b, matrix_view<const S> W, std::span<binary_path<S>> paths) {
    if (!W.is_row_major()) return do_couple_paths(reference_tag{}, b, W, paths);
    vectorized_for(b, W.rows, cpu_kernels::row_grain(W.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            cpu_kernels::for_words(W.cols, [&](index g, index first, index n) {
                S left[bit_layout::tile_cols];
                std::copy_n(W.row(i) + first, n, left);
                for (auto& path : paths)
                    path.B.set_word(i, g, cpu_kernels::peel_word(left, path.s_post(i), path.s_pre.data() + first, n));
            });
    });
}

/// A row takes all paths while it is in the nearest cache. Paths are the outer loop: GCC joins the steps of two paths
/// where they are the inner one, and does not vectorize what comes of it.
template <class B, class S>
void do_expand_paths(cpu_tag, const B& b, std::span<const binary_path<S>> paths, matrix_view<S> W) {
    if (!W.is_row_major()) return do_expand_paths(reference_tag{}, b, paths, W);
    vectorized_for(b, W.rows, cpu_kernels::row_grain(W.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            S* const row = W.row(i);
            std::fill_n(row, W.cols, S(0));
            for (const auto& path : paths)
                cpu_kernels::for_words(W.cols, [&](index g, index first, index n) {
                    cpu_kernels::add_word(path.B.view().word(i, g), path.s_post(i), path.s_pre.data() + first,
                                          row + first, n);
                });
        }
    });
}

/// Sums over rows are made in fixed chunks that are added in order; those over columns in 32 lanes.
template <class B, class S>
void do_path_gradients(cpu_tag, const B& b, matrix_view<const S> G, std::span<const binary_path<S>> paths,
                       std::span<vector<S>> d_post, std::span<vector<S>> d_pre) {
    if (!G.is_row_major()) return do_path_gradients(reference_tag{}, b, G, paths, d_post, d_pre);
    const auto sums = cpu_kernels::ordered_row_sum<S>(
        b, G.rows, G.cols, std::ssize(paths) * G.cols, [&](index begin, index end, S* part) {
            for (index i = begin; i < end; ++i)
                for (std::size_t p = 0; p < paths.size(); ++p) {
                    const auto& path = paths[p];
                    S* const columns = part + static_cast<index>(p) * G.cols;
                    S dots[bit_layout::tile_cols] = {};
                    cpu_kernels::for_words(G.cols, [&](index g, index first, index n) {
                        cpu_kernels::gradient_word(path.B.view().word(i, g), G.row(i) + first, path.s_post(i),
                                                   path.s_pre.data() + first, columns + first, dots, n);
                    });
                    S dot = 0;
                    for (const S x : dots)
                        dot += x;
                    d_post[p](i) = dot;
                }
        });
    for (std::size_t p = 0; p < paths.size(); ++p)
        std::copy_n(sums.data() + static_cast<index>(p) * G.cols, G.cols, d_pre[p].data());
}

}  // namespace subbit
