// Iterative residual SVID (RaBiT, arXiv 2602.05367, function-aware initialization; docs/method.md, eq. 48): a weight as
// a sum of a few sign matrices with vector scales.
#pragma once

#include <subbit/backend/ops/paths.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/factor/balance.hpp>
#include <subbit/factor/target.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

/// The settings of residual_svid.
template <class S>
struct residual_svid_options {
    index paths = 2;          ///< 1 to max_paths: bits per weight, scales aside
    int rounds = 8;           ///< over the paths; 1 is the greedy initialization
    int refit_rounds = 2;     ///< of all scales together, at the end
    diagonal<S> input = {};   ///< second moments of the inputs (n); empty for ones
    diagonal<S> output = {};  ///< second moments of the output gradients (m); empty for ones
    double power = 0.5;       ///< of the moments' roots in the preconditioner; 0 switches it off
    std::string name = "W";   ///< what messages call the matrix
};

/// W (m,n) ~ sum_p diag(g_p) B_p diag(h_p), and how the preconditioned relative error fell.
template <class S>
struct residual_factorization {
    residual_binary_linear<S> layer;
    std::vector<double> round_errors;  ///< after each round
    double error = 0;                  ///< after the refits
};

/// diag(left) signs diag(right) on a backend.
template <class B, class S>
struct sign_path {
    typename B::template matrix<S> signs;
    typename B::template vector<S> left, right;
};

/// X = diag(left) signs diag(right).
template <class B, class S, class MX>
void expand(const B& b, const sign_path<B, S>& path, MX&& X) {
    axpby(b, 1, path.signs, 0, X);
    scale(b, X, std::span<const S>(const_span(path.left)), std::span<const S>(const_span(path.right)));
}

/// The path closest to E: its signs, and the leading rank-one factors of its magnitudes.
template <class B, class S, class ME>
void fit_path(const B& b, const ME& E, sign_path<B, S>& path) {
    axpby(b, 1, E, 0, path.signs);
    take_signs(b, path.signs);
    rank1_magnitude(b, E, span_of(path.left), span_of(path.right));
}

/// Refits all left scales together, then all right ones, `rounds` times, each exactly (docs/method.md, eq. 49); the
/// error never rises.
template <class B, class S, class MT>
void fit_path_scales(const B& b, const MT& T, std::vector<sign_path<B, S>>& paths, int rounds) {
    std::vector<path_scales<S>> rows, cols;
    for (auto& path : paths) {
        rows.push_back({const_view(path.signs), span_of(path.left), const_span(path.right)});
        cols.push_back({const_view(path.signs).t(), span_of(path.right), const_span(path.left)});
    }
    for (int round = 0; round < rounds; ++round) {
        fit_path_rows(b, T, std::span<const path_scales<S>>(rows));
        fit_path_rows(b, const_view(T).t(), std::span<const path_scales<S>>(cols));
    }
}

/// A path of the weighted target as a path of the weight: the weighting is removed from the scales, which are then
/// balanced.
template <class B, class S>
binary_path<S> export_path(const B& b, const weighted_target<B, S>& target, sign_path<B, S>& path) {
    const double factor = std::sqrt(target.unit);
    unweight_rows(b, target, factor, as_column(span_of(path.left)));
    unweight_cols(b, target, factor, as_column(span_of(path.right)));
    balance(b, as_column(span_of(path.left)), as_column(span_of(path.right)));
    auto left = download(b, path.left);
    auto right = download(b, path.right);
    if (target.transposed) return {pack_signs(b, view(path.signs).t()), std::move(right), std::move(left)};
    return {pack_signs(b, path.signs), std::move(left), std::move(right)};
}

/// Factorizes W (m,n), a host matrix or view, by Gauss-Seidel over the paths: each in turn becomes the best path for
/// the residual of the others, in the metric of the preconditioned weight. Throws like lb_admm, and value_error for a
/// number of paths outside 1 to max_paths, or fewer than 1 round.
template <class B, class M, class S = typename decltype(const_view(std::declval<const M&>()))::value_type>
requires backend<B, S> residual_factorization<S> residual_svid(
    const B& b, const M& W, const std::type_identity_t<residual_svid_options<S>>& options) {
    require_path_count(options.name, options.paths);
    if (options.rounds < 1)
        throw value_error(options.name + ": " + std::to_string(options.rounds) + " rounds, expected 1 or more");
    const vector<S> input = tempered(options.input, options.power), output = tempered(options.output, options.power);
    const auto target =
        make_target<B, S>(b, const_view(W), diagonal<S>(input), diagonal<S>(output), index{1}, options.name);
    const auto T = const_view(target.T);

    std::vector<sign_path<B, S>> paths;
    for (index p = 0; p < options.paths; ++p)
        paths.push_back({allocate<S>(b, T.rows, T.cols), allocate<S>(b, T.rows), allocate<S>(b, T.cols)});
    auto E = copy_of(b, T);  // what the paths leave
    auto W_p = allocate<S>(b, T.rows, T.cols);
    residual_factorization<S> result;
    for (int round = 0; round < options.rounds; ++round) {
        for (auto& path : paths) {
            expand(b, path, W_p);
            axpby(b, 1, W_p, 1, E);  // E = T - sum_{q != p} W_q
            fit_path(b, E, path);
            expand(b, path, W_p);
            axpby(b, -1, W_p, 1, E);
        }
        result.round_errors.push_back(target.relative(squared_norm(b, E)));
    }
    fit_path_scales(b, T, paths, options.refit_rounds);

    axpby(b, 1, T, 0, E);
    for (auto& path : paths) {
        expand(b, path, W_p);
        axpby(b, -1, W_p, 1, E);
    }
    result.error = target.relative(squared_norm(b, E));
    for (auto& path : paths) {
        const auto& done = result.layer.paths.emplace_back(export_path(b, target, path));
        require_finite_result<B, S>(target, result.error, {&done.s_post, &done.s_pre});
    }
    return result;
}

}  // namespace subbit
