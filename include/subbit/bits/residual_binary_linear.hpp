// The layer of residual binarization: W ~ the sum over a few paths of diag(s_post) B diag(s_pre), B of signs
// (docs/method.md, eq. 5).
#pragma once

#include <subbit/bits/apply_options.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/bits/host_memory.hpp>
#include <subbit/bits/scale_format.hpp>
#include <subbit/bits/tokens.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <string>
#include <vector>

namespace subbit {

/// One path: diag(s_post) B diag(s_pre).
template <class S, class Memory = host_memory>
struct binary_path {
    typename Memory::bits B;                     ///< (m, n)
    typename Memory::template vector<S> s_post;  ///< m, of the outputs; g in the paper
    typename Memory::template vector<S> s_pre;   ///< n, of the inputs; h in the paper

    matrix<S> dense() const { return s_post.asDiagonal() * B.template unpack<S>() * s_pre.asDiagonal(); }
};

/// The largest number of paths of a layer.
inline constexpr index max_paths = 4;

/// value_error naming the matrix unless `paths` is 1 to max_paths.
inline void require_path_count(const std::string& name, index paths) {
    if (paths < 1 || paths > max_paths)
        throw value_error(name + ": " + std::to_string(paths) + " paths, expected 1 to " + std::to_string(max_paths));
}

/// y = sum_p s_post_p o (B_p (s_pre_p o x)) + bias for x of n entries and y of m: additions and subtractions only
/// (arXiv 2602.05367, equation 1).
template <class S, class Memory = host_memory>
struct residual_binary_linear {
    std::vector<binary_path<S, Memory>> paths;  ///< 1 to max_paths, the coarsest first
    typename Memory::template vector<S> bias;   ///< m, or empty: zeros

    index path_count() const { return std::ssize(paths); }
    bool has_bias() const { return !const_span(bias).empty(); }
    index rows() const { return paths.empty() ? 0 : paths.front().B.rows(); }
    index cols() const { return paths.empty() ? 0 : paths.front().B.cols(); }

    /// Throws shape_error or value_error, naming the part, unless all parts fit together.
    void validate() const {
        require_path_count("residual binary layer", path_count());
        for (const auto& path : paths) {
            require_shape("residual binary layer: B", path.B.rows(), path.B.cols(), rows(), cols());
            require_size("residual binary layer: s_post", path.s_post.size(), rows());
            require_size("residual binary layer: s_pre", path.s_pre.size(), cols());
        }
        if (bias.size() != 0) require_size("residual binary layer: bias", bias.size(), rows());
    }

    /// Bits of the signs and the scales (docs/method.md, eq. 6); padding and bias are not counted.
    double storage_bits(scale_format format = scale_format::f16) const {
        const auto m = static_cast<double>(rows()), n = static_cast<double>(cols());
        const auto scales = static_cast<double>(stored_bits(format, rows()) + stored_bits(format, cols()));
        return static_cast<double>(path_count()) * (m * n + scales);
    }
    /// storage_bits divided by the number of entries of the dense matrix.
    double bits_per_weight(scale_format format = scale_format::f16) const {
        return storage_bits(format) / (static_cast<double>(rows()) * static_cast<double>(cols()));
    }

    /// Y (T,m) = the layer's outputs for the rows of X (T,n); Y must not overlap X. Accumulates in S; the options are
    /// as in a low-rank layer. Throws shape_error.
    template <class B>
    void apply(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const {
        validate();
        require_shape("apply: X", X.rows, X.cols, X.rows, cols());
        require_shape("apply: Y", Y.rows, Y.cols, X.rows, rows());
        do_apply_layer(typename B::tag{}, b, *this, X, Y, options);
    }
    /// The same for matrices of Eigen's of either order, Map, Ref and blocks of them; and y (m) = the layer's output
    /// for x (n), where a token is a vector of Eigen's, a std::span, a std::vector or an array. Owners are resized.
    template <class B, class In, class Out>
    void apply(const B& b, const In& X, Out&& Y, apply_options options = {}) const {
        const matrix_view<const S> inputs = detail::view_of_tokens<S>(X);
        detail::fit_outputs(Y, inputs.rows, rows());
        apply(b, inputs, detail::view_of_tokens<S>(Y), options);
    }

    /// The dense matrix that the layer represents, without the bias: W_eff in the paper.
    matrix<S> dense() const {
        matrix<S> sum = matrix<S>::Zero(rows(), cols());
        for (const auto& path : paths)
            sum += path.dense();
        return sum;
    }
};

}  // namespace subbit
