// Residual binarization by plain loops (ops/paths.hpp).
#pragma once

#include <subbit/backend/ops/paths.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace subbit {

template <host_backend B, class S>
void do_couple_paths(reference_tag, const B& b, matrix_view<const S> W, std::span<binary_path<S>> paths) {
    matrix<S> R = as_eigen(W);
    for (auto& path : paths) {
        path.B = bit_matrix::pack(R);
        b.parallel_for(R.rows(), 16, [&](index begin, index end) {
            for (index i = begin; i < end; ++i)
                for (index j = 0; j < R.cols(); ++j)
                    R(i, j) -= static_cast<S>(path.B.get(i, j)) * path.s_post(i) * path.s_pre(j);
        });
    }
}

template <host_backend B, class S>
void do_expand_paths(reference_tag, const B&, std::span<const binary_path<S>> paths, matrix_view<S> W) {
    as_eigen(W).setZero();
    for (const auto& path : paths)
        as_eigen(W) += path.dense();
}

template <host_backend B, class S>
void do_path_gradients(reference_tag, const B&, matrix_view<const S> G, std::span<const binary_path<S>> paths,
                       std::span<vector<S>> d_post, std::span<vector<S>> d_pre) {
    for (std::size_t p = 0; p < paths.size(); ++p) {
        const matrix<S> signed_gradient = as_eigen(G).cwiseProduct(paths[p].B.template unpack<S>());
        d_post[p] = signed_gradient * paths[p].s_pre;
        d_pre[p] = signed_gradient.transpose() * paths[p].s_post;
    }
}

template <class B, class S>
void do_fit_path_rows(reference_tag, const B& b, matrix_view<const S> T, std::span<const path_scales<S>> paths) {
    const std::size_t k = paths.size();
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
            for (int sweep = 0; sweep < path_fit_sweeps; ++sweep)
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
