// What every solver factorizes: the weight with its rows and columns weighted by the square roots of the curvature.
#pragma once

#include <subbit/backend/factor_operations.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace subbit {

/// The entries of a diagonal matrix, on the host and owned by the caller; empty stands for the identity.
template <class S>
struct diagonal : std::span<const S> {
    diagonal() = default;
    diagonal(std::span<const S> entries) : std::span<const S>(entries) {}
    diagonal(const vector<S>& entries) : std::span<const S>(span_of(entries)) {}
    diagonal(const std::vector<S>& entries) : std::span<const S>(entries) {}
};

/// Throws value_error naming the matrix and the place of its first NaN or infinity.
template <class S>
void require_finite(std::string_view name, matrix_view<const S> W) {
    for (index i = 0; i < W.rows; ++i)
        for (index j = 0; j < W.cols; ++j)
            if (!std::isfinite(W(i, j)))
                throw value_error(std::string(name) + " (" + shape_text(W.rows, W.cols) + ") is not finite at (" +
                                  std::to_string(i) + "," + std::to_string(j) + ")");
}

/// Square roots of second moments, clamped at 1e-12 from below; an empty diagonal gives n ones. Throws shape_error for
/// a wrong length, value_error for a negative or not finite moment; both name the tensor.
template <class S>
vector<S> moment_roots(const std::string& name, diagonal<S> moments, index n) {
    vector<S> roots = vector<S>::Ones(n);
    if (moments.empty()) return roots;
    require_size(name.c_str(), std::ssize(moments), n);
    constexpr S eps = static_cast<S>(1e-12);
    for (index i = 0; i < n; ++i) {
        const S moment = moments[static_cast<std::size_t>(i)];
        if (!(moment >= S(0)) || !std::isfinite(moment))
            throw value_error(name + " (" + std::to_string(n) + " entries) is " +
                              std::to_string(static_cast<double>(moment)) + " at " + std::to_string(i) +
                              ", expected a finite non-negative moment");
        roots(i) = std::max(std::sqrt(moment), eps);
    }
    return roots;
}

/// moments^power, entry by entry: what makes the roots of make_target the preconditioner's power. An empty diagonal, or
/// power = 0, gives the identity.
template <class S>
vector<S> tempered(diagonal<S> moments, double power) {
    if (power == 0) return {};
    vector<S> result(std::ssize(moments));
    for (index i = 0; i < result.size(); ++i)
        result(i) = static_cast<S>(std::pow(static_cast<double>(moments[static_cast<std::size_t>(i)]), power));
    return result;
}

/// T = diag(row_root) W diag(col_root) in the backend's memory, transposed where W is wide, so that it has at least as
/// many rows as columns (nanoquant.md section 3). row_root and col_root belong to T's rows and columns.
template <class B, class S>
struct weighted_target {
    typename B::template matrix<S> T;
    vector<S> row_root;
    vector<S> col_root;
    bool transposed = false;
    double squared_norm = 0;
};

/// Checks and uploads a weight W (m,n), on the host, with input moments (n) and output moments (m). Throws value_error
/// for a weight that is empty or not finite, a rank outside [1, min(m,n)] or a bad moment; shape_error for moments of a
/// wrong length. All messages name the tensor.
template <class B, class S>
weighted_target<B, S> make_target(const B& b, matrix_view<const S> W, diagonal<S> input, diagonal<S> output, index rank,
                                  const std::string& name) {
    if (W.rows < 1 || W.cols < 1) throw value_error(name + " is empty (" + shape_text(W.rows, W.cols) + ")");
    if (rank < 1 || rank > std::min(W.rows, W.cols))
        throw value_error(name + " (" + shape_text(W.rows, W.cols) + "): rank " + std::to_string(rank) +
                          ", expected 1 to " + std::to_string(std::min(W.rows, W.cols)));
    weighted_target<B, S> target;
    target.transposed = W.rows < W.cols;
    target.row_root = moment_roots(name + ": output moments", output, W.rows);
    target.col_root = moment_roots(name + ": input moments", input, W.cols);
    if (target.transposed) std::swap(target.row_root, target.col_root);
    target.T = upload(b, target.transposed ? W.t() : W);
    const auto left = upload_vector(b, const_span(target.row_root));
    const auto right = upload_vector(b, const_span(target.col_root));
    scale(b, target.T, const_span(left), const_span(right));
    target.squared_norm = squared_norm(b, target.T);
    if (!std::isfinite(target.squared_norm)) require_finite(name, W);  // not before: the host is slow at it
    if (!std::isfinite(target.squared_norm) || target.squared_norm > std::numeric_limits<S>::max())
        throw value_error(name + " (" + shape_text(W.rows, W.cols) + ") times the roots of its moments has the norm " +
                          std::to_string(std::sqrt(target.squared_norm)) + ", expected one whose square is a number");
    return target;
}

/// Divides the rows of each matrix by the roots: from the weighted target's factors back to the weight's.
template <class B, class S, class... M>
void unweight_rows(const B& b, const vector<S>& roots, M&&... matrices) {
    const vector<S> reciprocals = roots.cwiseInverse();
    const auto left = upload_vector(b, const_span(reciprocals));
    (scale(b, matrices, std::span<const S>(const_span(left)), std::span<const S>()), ...);
}

}  // namespace subbit
