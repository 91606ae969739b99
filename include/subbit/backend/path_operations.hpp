// The operations of residual binarization (rabit.md), with their reference versions. Same convention as operations.hpp.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/core/types.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace subbit {

/// One path as a refit of its row scales sees it.
template <class S>
struct path_scales {
    matrix_view<const S> signs;  ///< (m,n), +1 and -1
    std::span<S> rows;           ///< m, refitted
    std::span<const S> cols;     ///< n, fixed
};

/// Takes one path off what is left: returns B = sign(R), packed, and R <- R - diag(post) B diag(pre) for R (m,n)
/// (arXiv 2602.05367, the coupled forward; rabit.md section 3).
template <class B, class MR, class S>
bit_matrix peel_signs(const B& b, MR&& R, std::span<const S> post, std::span<const S> pre) {
    const auto r = view(R);
    require_size("peel_signs: post", std::ssize(post), r.rows);
    require_size("peel_signs: pre", std::ssize(pre), r.cols);
    return do_peel_signs(typename B::tag{}, b, r, post, pre);
}

/// Refits the row scales of all paths together: for each row of T (m,n) the non-negative least squares
/// T(i,:) ~ sum_p rows_p[i] signs_p(i,:) o cols_p, by exact minimization of one scale after the other from the present
/// ones, so that the error never rises. Sums are in double.
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

/// One path's product, its scales on either side in the same pass: raw = (X o in) B and Y = raw o out, or Y + raw o out
/// where `add`, for X (T,k), packed signs B (k,n) or the transpose of such, in k, out n, raw and Y (T,n). An empty Y is
/// not computed. Accumulates in S.
template <class B, class MX, class S, class Bits, class MR, class MY>
void path_product(const B& b, const MX& X, std::span<const S> in, Bits signs, std::span<const S> out, MR&& raw,
                  bool add, MY&& Y) {
    const auto x = const_view(X);
    const auto r = view(raw);
    const auto y = view(Y);
    require_shape("path_product: signs", signs.rows(), signs.cols(), x.cols, r.cols);
    require_shape("path_product: raw", r.rows, r.cols, x.rows, signs.cols());
    require_size("path_product: in", std::ssize(in), x.cols);
    require_size("path_product: out", std::ssize(out), r.cols);
    if (y.size() != 0) require_shape("path_product: Y", y.rows, y.cols, r.rows, r.cols);
    do_path_product(typename B::tag{}, b, x, in, signs, out, r, add, y);
}

template <class B, class S, class Bits>
void do_path_product(reference_tag, const B& b, matrix_view<const S> X, std::span<const S> in, Bits signs,
                     std::span<const S> out, matrix_view<S> raw, bool add, matrix_view<S> Y) {
    auto scaled = allocate<S>(b, X.rows, X.cols);
    axpby(b, 1, X, 0, scaled);
    scale(b, scaled, std::span<const S>(), in);
    gemm(b, scaled, signs, raw);
    if (Y.size() == 0) return;
    auto product = allocate<S>(b, raw.rows, raw.cols);
    axpby(b, 1, raw, 0, product);
    scale(b, product, std::span<const S>(), out);
    axpby(b, 1, product, add ? 1 : 0, Y);
}

template <class B, class S>
bit_matrix do_peel_signs(reference_tag, const B& b, matrix_view<S> R, std::span<const S> post, std::span<const S> pre) {
    bit_matrix signs = bit_matrix::pack(R);
    b.parallel_for(R.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < R.cols; ++j)
                R(i, j) -= static_cast<S>(signs.get(i, j)) * post[static_cast<std::size_t>(i)] *
                           pre[static_cast<std::size_t>(j)];
    });
    return signs;
}

template <class B, class S>
void do_fit_path_rows(reference_tag, const B& b, matrix_view<const S> T, std::span<const path_scales<S>> paths) {
    const std::size_t k = paths.size();
    constexpr int sweeps = 16;
    b.parallel_for(T.rows, 16, [&](index begin, index end) {
        std::vector<double> gram(k * k), overlap(k), term(k);
        for (index i = begin; i < end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            std::fill(gram.begin(), gram.end(), 0.0);
            std::fill(overlap.begin(), overlap.end(), 0.0);
            for (index j = 0; j < T.cols; ++j) {
                for (std::size_t p = 0; p < k; ++p)
                    term[p] = static_cast<double>(paths[p].signs(i, j) * paths[p].cols[static_cast<std::size_t>(j)]);
                for (std::size_t p = 0; p < k; ++p) {
                    overlap[p] += term[p] * static_cast<double>(T(i, j));
                    for (std::size_t q = 0; q < k; ++q)
                        gram[p * k + q] += term[p] * term[q];
                }
            }
            for (int sweep = 0; sweep < sweeps; ++sweep)
                for (std::size_t p = 0; p < k; ++p) {
                    if (gram[p * k + p] <= 0) continue;
                    double rest = overlap[p];
                    for (std::size_t q = 0; q < k; ++q)
                        if (q != p) rest -= gram[p * k + q] * static_cast<double>(paths[q].rows[at]);
                    paths[p].rows[at] = static_cast<S>(std::max(0.0, rest / gram[p * k + p]));
                }
        }
    });
}

}  // namespace subbit
