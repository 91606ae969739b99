// The layer that replaces a dense weight matrix: W ~ diag(s_post) U diag(s_mid) V diag(s_pre), U and V of signs
// (docs/method.md, eq. 1).
#pragma once

#include <subbit/bits/apply_options.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/bits/host_memory.hpp>
#include <subbit/bits/scale_format.hpp>
#include <subbit/bits/tokens.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>

namespace subbit {

/// The largest rank of an m x n layer: from there on its signs take at least the 16 bits per weight of a dense matrix
/// of halves. Ranks above min(m,n) are no waste: U and V have signs alone, so more of them bring U V nearer to W.
constexpr index largest_rank(index m, index n) {
    return 16 * std::min(m, n);
}

/// y = s_post o (U (s_mid o (V (s_pre o x)))) + bias for x of n entries and y of m (docs/method.md, eq. 2): NanoQuant's
/// two-scale form (arXiv 2602.06694, equation 1) if s_mid is empty, otherwise DBF's three-scale form.
template <class S, class Memory = host_memory>
struct low_rank_binary_linear {
    typename Memory::bits U;                      ///< (m, r)
    typename Memory::bits V;                      ///< (r, n)
    typename Memory::template vector<S> s_post;   ///< m, of the outputs
    typename Memory::template vector<S> s_pre{};  ///< n, of the inputs
    typename Memory::template vector<S> s_mid{};  ///< r, or empty: ones
    typename Memory::template vector<S> bias{};   ///< m, or empty: zeros

    index rows() const { return U.rows(); }
    index cols() const { return V.cols(); }
    index rank() const { return U.cols(); }
    bool has_mid() const { return !const_span(s_mid).empty(); }
    bool has_bias() const { return !const_span(bias).empty(); }

    /// Throws shape_error, naming the part, unless all parts fit together.
    void validate() const {
        require_shape("low-rank binary layer: V", V.rows(), V.cols(), rank(), s_pre.size());
        require_size("low-rank binary layer: s_post", s_post.size(), rows());
        if (s_mid.size() != 0) require_size("low-rank binary layer: s_mid", s_mid.size(), rank());
        if (bias.size() != 0) require_size("low-rank binary layer: bias", bias.size(), rows());
    }

    /// Bits of the signs and the scales (docs/method.md, eq. 3); padding and bias are not counted.
    double storage_bits(scale_format format = scale_format::f16) const {
        const auto signs = static_cast<double>(rank()) * static_cast<double>(rows() + cols());
        const auto scales =
            stored_bits(format, rows()) + stored_bits(format, cols()) + (has_mid() ? stored_bits(format, rank()) : 0);
        return signs + static_cast<double>(scales);
    }
    /// storage_bits divided by the number of entries of the dense matrix.
    double bits_per_weight(scale_format format = scale_format::f16) const {
        return storage_bits(format) / (static_cast<double>(rows()) * static_cast<double>(cols()));
    }

    /// Y (T,m) = the layer's outputs for the rows of X (T,n); Y must not overlap X. Accumulates in S. Throws
    /// shape_error.
    template <class B>
    void apply(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const;
    /// The same for matrices of Eigen's of either order, Map, Ref and blocks of them; and y (m) = the layer's output
    /// for x (n), where a token is a vector of Eigen's, a std::span, a std::vector or an array. Owners are resized.
    template <class B, class In, class Out>
    void apply(const B& b, const In& X, Out&& Y, apply_options options = {}) const {
        const matrix_view<const S> inputs = detail::view_of_tokens<S>(X);
        detail::fit_outputs(Y, inputs.rows, rows());
        apply(b, inputs, detail::view_of_tokens<S>(Y), options);
    }

    /// The dense matrix that the layer represents, without the bias.
    matrix<S> dense() const {
        matrix<S> left = U.template unpack<S>();
        if (s_mid.size() != 0) left = left * s_mid.asDiagonal();
        return s_post.asDiagonal() * (left * V.template unpack<S>()) * s_pre.asDiagonal();
    }
};

template <class S, class Memory>
template <class B>
void low_rank_binary_linear<S, Memory>::apply(const B& b, matrix_view<const S> X, matrix_view<S> Y,
                                              apply_options options) const {
    apply_layers(b, X, {{*this, Y}}, options);
}

}  // namespace subbit
