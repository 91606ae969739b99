// Whether the paths of a residual layer correct each other (RaBiT, arXiv 2602.05367, inter-path adaptation;
// docs/method.md, eq. 51).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/recon/residual_linear.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace subbit {

/// How the first path's outputs y_1, the sum y_2 of all other paths' outputs, and the target y_t are related.
/// Everything is centered over all tokens and channels; with sd the standard deviations and R_1 = y_t - y_1
///
///     error = var(y_t - y_1 - y_2)
///           = shared + 2 sd(y_1) sd(y_2) correlation
///           = var(R_1) + var(y_2) - 2 sd(R_1) sd(y_2) alignment
struct path_diagnostics {
    double correlation = 0;  ///< Corr(y_1, y_2): negative if the second path corrects the first
    double alignment = 0;    ///< Corr(R_1, y_2): positive if it follows the first path's residual
    double error = 0;        ///< relative to var(y_t), like the two below
    double by_correlation = 0;
    double by_alignment = 0;
};

/// The means of the terms (an array of double) that terms_at(i, j) returns for the entries of a rows x cols matrix.
/// Each row is summed by itself, and the rows' sums are added in order, so the result does not depend on the number of
/// threads.
template <host_backend B, class F>
auto mean_of_terms(const B& b, index rows, index cols, const F& terms_at) {
    using terms = decltype(terms_at(0, 0));
    const auto add = [](terms& sum, const terms& more) {
        for (std::size_t k = 0; k < sum.size(); ++k)
            sum[k] += more[k];
    };
    std::vector<terms> row_sums(static_cast<std::size_t>(rows));
    b.parallel_for(rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < cols; ++j)
                add(row_sums[static_cast<std::size_t>(i)], terms_at(i, j));
    });
    terms mean{};
    for (const auto& sum : row_sums)
        add(mean, sum);
    for (auto& term : mean)
        term /= static_cast<double>(std::max<index>(1, rows * cols));
    return mean;
}

/// The diagnostics of one layer's outputs, (T, m) each and rows contiguous; sums in double, rows in order.
template <host_backend B, class S>
path_diagnostics compare_paths(const B& b, matrix_view<const S> target, matrix_view<const S> first,
                               matrix_view<const S> rest) {
    require_shape("compare_paths: first", first.rows, first.cols, target.rows, target.cols);
    require_shape("compare_paths: rest", rest.rows, rest.cols, target.rows, target.cols);
    const auto values_at = [&](index i, index j) {
        return std::array{static_cast<double>(target(i, j)), static_cast<double>(first(i, j)),
                          static_cast<double>(rest(i, j))};
    };
    const auto mean = mean_of_terms(b, target.rows, target.cols, values_at);
    // Centered before they are multiplied: a difference of large sums would hide a small variance.
    const auto products = mean_of_terms(b, target.rows, target.cols, [&](index i, index j) {
        const auto value = values_at(i, j);
        const double t = value[0] - mean[0], y1 = value[1] - mean[1], y2 = value[2] - mean[2], r1 = t - y1, e = r1 - y2;
        return std::array{t * t, y1 * y1, y2 * y2, t * y1, t * y2, y1 * y2, r1 * r1, r1 * y2, e * e};
    });
    const auto [var_t, var_1, var_2, cov_t1, cov_t2, cov_12, var_r, cov_r2, var_e] = products;
    const auto correlation = [](double cov, double a, double c) { return a > 0 && c > 0 ? cov / std::sqrt(a * c) : 0; };
    const auto relative = [total = var_t](double v) { return total > 0 ? v / total : 0; };
    path_diagnostics d;
    d.correlation = correlation(cov_12, var_1, var_2);
    d.alignment = correlation(cov_r2, var_r, var_2);
    d.error = relative(var_e);
    d.by_correlation =
        relative(var_t + var_1 + var_2 - 2 * cov_t1 - 2 * cov_t2 + 2 * std::sqrt(var_1 * var_2) * d.correlation);
    d.by_alignment = relative(var_r + var_2 - 2 * std::sqrt(var_r * var_2) * d.alignment);
    return d;
}

/// The diagnostics of a layer for inputs X (T, n); the target is X W^T for the original weight W (m, n).
template <host_backend B, class S>
path_diagnostics diagnose_paths(const B& b, const residual_linear<S>& layer, matrix_view<const S> W,
                                matrix_view<const S> X) {
    matrix<S> target(X.rows, layer.rows()), first(X.rows, layer.rows()), rest(X.rows, layer.rows());
    gemm(b, X, W.t(), target);
    residual_binary_linear<S> one{{layer.layer.paths.front()}, {}};
    one.apply(b, X, view(first));
    residual_binary_linear<S> others{{layer.layer.paths.begin() + 1, layer.layer.paths.end()}, {}};
    if (others.paths.empty())
        rest.setZero();
    else
        others.apply(b, X, view(rest));
    return compare_paths(b, const_view(target), const_view(first), const_view(rest));
}

}  // namespace subbit
