// The operations of residual binarization (docs/method.md, section 14).
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <span>
#include <string>
#include <utility>

namespace subbit {

namespace detail {

/// shape_error unless every path is rows x cols.
template <class S, class Memory>
void require_paths(const std::string& name, std::span<const binary_path<S, Memory>> paths, index rows, index cols) {
    for (const auto& path : paths) {
        require_shape((name + ": B").c_str(), path.B.rows(), path.B.cols(), rows, cols);
        require_size((name + ": s_post").c_str(), std::ssize(const_span(path.s_post)), rows);
        require_size((name + ": s_pre").c_str(), std::ssize(const_span(path.s_pre)), cols);
    }
}

}  // namespace detail

/// One path in a refit of its row scales.
template <class S>
struct path_scales {
    matrix_view<const S> signs;  ///< (m,n), +1 and -1
    std::span<S> rows;           ///< m, refitted
    std::span<const S> cols;     ///< n, fixed
};

/// Derives the signs of all paths from one weight W (m,n), in order: R_0 = W; B_p = sign(R_{p-1}), R_p = R_{p-1} -
/// diag(g_p) B_p diag(h_p). The scales do not change (RaBiT's coupled forward pass, arXiv 2602.05367; docs/method.md,
/// eq. 46).
template <class B, class M, class S, class Memory>
void couple_paths(const B& b, const M& W, std::span<binary_path<S, Memory>> paths) {
    const auto w = const_view(W);
    detail::require_paths("couple_paths", std::span<const binary_path<S, Memory>>(paths), w.rows, w.cols);
    do_couple_paths(typename B::tag{}, b, w, paths);
}

/// W (m,n) = sum_p diag(g_p) B_p diag(h_p): the effective weight.
template <class B, class S, class Memory, class M>
void expand_paths(const B& b, std::span<const binary_path<S, Memory>> paths, M&& W) {
    const auto w = view(W);
    detail::require_paths("expand_paths", paths, w.rows, w.cols);
    do_expand_paths(typename B::tag{}, b, paths, w);
}

/// The scales' gradients from that of the effective weight, G (m,n): d_post[p] = rowsum(G o B_p diag(h_p)) and d_pre[p]
/// = colsum(G o diag(g_p) B_p), of m and n entries (docs/method.md, eq. 47).
template <class B, class M, class S, class Memory>
void path_gradients(const B& b, const M& G, std::span<const binary_path<S, Memory>> paths,
                    std::span<typename Memory::template vector<S>> d_post,
                    std::span<typename Memory::template vector<S>> d_pre) {
    const auto g = const_view(G);
    detail::require_paths("path_gradients", paths, g.rows, g.cols);
    require_size("path_gradients: d_post", std::ssize(d_post), std::ssize(paths));
    require_size("path_gradients: d_pre", std::ssize(d_pre), std::ssize(paths));
    for (std::size_t p = 0; p < paths.size(); ++p) {
        require_size("path_gradients: d_post", std::ssize(const_span(d_post[p])), g.rows);
        require_size("path_gradients: d_pre", std::ssize(const_span(d_pre[p])), g.cols);
    }
    do_path_gradients(typename B::tag{}, b, g, paths, d_post, d_pre);
}

/// The number of sweeps of fit_path_rows over a row's scales.
inline constexpr int path_fit_sweeps = 16;

/// Refits the row scales of all paths together (docs/method.md, eq. 49): for each row of T (m,n) the non-negative least
/// squares T(i,:) ~ sum_p rows_p[i] signs_p(i,:) o cols_p, by minimizing over one scale after the other, starting from
/// the present ones, so that the error never rises. Sums are in double.
template <class B, class M, class S>
void fit_path_rows(const B& b, const M& T, std::span<const path_scales<S>> paths) {
    const auto t = const_view(T);
    for (const auto& path : paths) {
        require_shape("fit_path_rows: signs", path.signs.rows, path.signs.cols, t.rows, t.cols);
        require_size("fit_path_rows: rows", std::ssize(path.rows), t.rows);
        require_size("fit_path_rows: cols", std::ssize(path.cols), t.cols);
    }
    do_fit_path_rows(typename B::tag{}, b, t, paths);
}

/// A path moved into the backend's memory.
template <class B, class S>
binary_path<S, memory_of<B>> upload(const B& b, binary_path<S> host) {
    return {upload(b, std::move(host.B)), upload(b, std::move(host.s_post)), upload(b, std::move(host.s_pre))};
}

}  // namespace subbit
