// What every solver factorizes: the weight with its rows and columns weighted by the roots of their second moments
// (docs/method.md, section 4).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/finite.hpp>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace subbit {

/// The entries of a diagonal matrix, on the host and owned by the caller; if empty, the identity.
template <class S>
struct diagonal : std::span<const S> {
    diagonal() = default;
    diagonal(std::span<const S> entries) : std::span<const S>(entries) {}
    diagonal(const vector<S>& entries) : std::span<const S>(span_of(entries)) {}
    diagonal(const std::vector<S>& entries) : std::span<const S>(entries) {}
    /// A Map, a Ref, a row or a segment whose entries lie side by side.
    template <class Derived>
    diagonal(const Eigen::DenseBase<Derived>& entries)
        : std::span<const S>(view(entries).data, static_cast<std::size_t>(entries.size())) {
        static_assert(Derived::IsVectorAtCompileTime && Derived::InnerStrideAtCompileTime == 1,
                      "subbit: moments are a vector whose entries lie side by side; copy these to one first");
    }
};

/// Throws value_error naming the matrix and the place of its first NaN or infinity.
template <class S>
void require_finite(std::string_view name, matrix_view<const S> W) {
    for (index i = 0; i < W.rows; ++i)
        for (index j = 0; j < W.cols; ++j)
            if (!is_finite(W(i, j)))
                throw value_error(std::string(name) + " (" + shape_text(W.rows, W.cols) + ") is not finite at (" +
                                  std::to_string(i) + "," + std::to_string(j) + ")");
}

/// Square roots of second moments, clamped from below at 1e-12 of the largest; n ones for an empty diagonal or if all
/// moments are zero. Throws shape_error for a wrong length, value_error for a moment that is negative or not finite;
/// both name the tensor.
template <class S>
vector<double> moment_roots(const std::string& name, diagonal<S> moments, index n) {
    vector<double> roots = vector<double>::Ones(n);
    if (moments.empty()) return roots;
    require_size(name.c_str(), std::ssize(moments), n);
    for (index i = 0; i < n; ++i) {
        const auto moment = static_cast<double>(moments[static_cast<std::size_t>(i)]);
        if (!is_finite(moment) || moment < 0)
            throw value_error(name + " (" + std::to_string(n) + " entries) is " + std::to_string(moment) + " at " +
                              std::to_string(i) + ", expected a finite non-negative moment");
        roots(i) = std::sqrt(moment);
    }
    const double largest = roots.maxCoeff();
    if (largest == 0) return vector<double>::Ones(n);
    return roots.cwiseMax(1e-12 * largest);
}

/// moments^power, entry by entry, so that make_target weights by a power of the moments' roots. An empty diagonal, or
/// power = 0, gives the identity.
template <class S>
vector<S> tempered(diagonal<S> moments, double power) {
    if (power == 0) return {};
    vector<S> result(std::ssize(moments));
    for (index i = 0; i < result.size(); ++i)
        result(i) = static_cast<S>(std::pow(static_cast<double>(moments[static_cast<std::size_t>(i)]), power));
    return result;
}

/// unit T = diag(row_root) W diag(col_root) (docs/method.md, eq. 11). T is in the backend's memory and has a root mean
/// square of 1, so that no solver depends on the scale of weights or moments. It is transposed if needed, so that it
/// has at least as many rows as columns; row_root and col_root belong to T's rows and columns. For a zero matrix the
/// unit is 0 and T is all ones.
template <class B, class S>
struct weighted_target {
    typename B::template matrix<S> T;
    vector<double> row_root;
    vector<double> col_root;
    bool transposed = false;
    double unit = 0;
    double squared_norm = 0;  ///< of T
    std::string name;         ///< what messages call W

    /// The relative error of a residual with this squared norm; 0 for a zero matrix.
    double relative(double residual_squares) const { return unit > 0 ? residual_squares / squared_norm : 0.0; }
};

/// The root mean square of W, whose copy in the backend's memory is T; 0 if all entries are zero. Throws value_error if
/// an entry is not finite, or the squared norm is outside the range of a double.
template <class B, class S>
double root_mean_square(const B& b, const typename B::template matrix<S>& T, matrix_view<const S> W,
                        const std::string& name) {
    const double squares = squared_norm(b, T);
    if (!is_finite(squares)) require_finite(name, W);  // only in this case, since it is slow on the host
    if (is_finite(squares) && squares > 1e-280) return std::sqrt(squares / static_cast<double>(W.rows * W.cols));
    if (is_finite(squares) && (as_eigen(W).array() == S(0)).all()) return 0;
    throw value_error(name + " (" + shape_text(W.rows, W.cols) + ") has the squared norm " + std::to_string(squares) +
                      ", expected one inside the range of a double");
}

/// diagonal * factor in the backend's memory and type.
template <class S, class B>
auto upload_scaled(const B& b, const vector<double>& diagonal, double factor) {
    const vector<S> scaled = (diagonal * factor).template cast<S>();
    return upload(b, const_span(scaled));
}

/// Weights the copy of W in target.T, whose root mean square is `size` > 0, and scales it to one of 1.
template <class B, class S>
void weight_and_scale(const B& b, double size, weighted_target<B, S>& target) {
    // Each side is scaled by a part of 1 / size, so that no intermediate number leaves S's range; the part of the rows
    // is a power of two, hence exact.
    const double half = std::exp2(std::ilogb(size) / 2);
    const double row_largest = target.row_root.maxCoeff(), col_largest = target.col_root.maxCoeff();
    const auto left = upload_scaled<S>(b, target.row_root / row_largest, 1 / half);
    const auto right = upload_scaled<S>(b, target.col_root / col_largest, half / size);
    scale(b, target.T, std::span<const S>(const_span(left)), std::span<const S>());
    scale(b, target.T, std::span<const S>(), std::span<const S>(const_span(right)));
    const auto entries = static_cast<double>(target.row_root.size() * target.col_root.size());
    const double weighted_size = std::sqrt(squared_norm(b, target.T) / entries);
    axpby(b, 1 / weighted_size, target.T, 0, target.T);
    target.unit = weighted_size * size * row_largest * col_largest;
}

/// Throws value_error unless a rank for W is in [1, largest].
template <class S>
void require_rank(const std::string& name, matrix_view<const S> W, index rank, index largest) {
    if (rank < 1 || rank > largest)
        throw value_error(name + " (" + shape_text(W.rows, W.cols) + "): rank " + std::to_string(rank) +
                          ", expected 1 to " + std::to_string(largest));
}

/// Checks and uploads a weight W (m,n), on the host, with input moments (n) and output moments (m). Throws value_error
/// for a weight that is empty, not finite or has a squared norm outside the range of a double, for a rank outside
/// [1, largest_rank(m,n)] and for an invalid moment; shape_error for moments of a wrong length. All messages name the
/// tensor.
template <class B, class S>
weighted_target<B, S> make_target(const B& b, matrix_view<const S> W, diagonal<S> input, diagonal<S> output, index rank,
                                  const std::string& name) {
    if (W.rows < 1 || W.cols < 1) throw value_error(name + " is empty (" + shape_text(W.rows, W.cols) + ")");
    require_rank(name, W, rank, largest_rank(W.rows, W.cols));
    weighted_target<B, S> target;
    target.name = name;
    target.transposed = W.rows < W.cols;
    target.row_root = moment_roots(name + ": output moments", output, W.rows);
    target.col_root = moment_roots(name + ": input moments", input, W.cols);
    if (target.transposed) std::swap(target.row_root, target.col_root);
    target.T = upload(b, target.transposed ? W.t() : W);
    const double size = root_mean_square<B, S>(b, target.T, W, name);
    if (size > 0)
        weight_and_scale(b, size, target);
    else
        fill(b, 1, target.T);
    target.squared_norm = squared_norm(b, target.T);
    return target;
}

/// Turns factors of T into factors of the weight: the rows of each matrix, which are T's rows, are divided by their
/// roots and multiplied by `factor`. The factors of the two sides multiply to the unit.
template <class B, class S, class... M>
void unweight_rows(const B& b, const weighted_target<B, S>& target, double factor, M&&... matrices) {
    const auto left = upload_scaled<S>(b, target.row_root.cwiseInverse(), factor);
    (scale(b, matrices, std::span<const S>(const_span(left)), std::span<const S>()), ...);
}

/// The same for matrices whose rows are T's columns.
template <class B, class S, class... M>
void unweight_cols(const B& b, const weighted_target<B, S>& target, double factor, M&&... matrices) {
    const auto left = upload_scaled<S>(b, target.col_root.cwiseInverse(), factor);
    (scale(b, matrices, std::span<const S>(const_span(left)), std::span<const S>()), ...);
}

/// Throws value_error naming the matrix unless all scales, and a measure of a solver's result, are finite.
template <class B, class S>
void require_finite_result(const weighted_target<B, S>& target, double measure,
                           std::initializer_list<const vector<S>*> scales) {
    bool finite = is_finite(measure);
    for (const vector<S>* some : scales)
        finite = finite && std::all_of(some->begin(), some->end(), [](const S& s) { return is_finite(s); });
    if (!finite)
        throw value_error(target.name +
                          ": its factorization is not finite; expected weights, moments and starts that " +
                          "are not too large or too small together");
}

}  // namespace subbit
