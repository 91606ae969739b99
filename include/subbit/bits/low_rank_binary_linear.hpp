// The layer that replaces a dense weight matrix: W ~ diag(s_post) U diag(s_mid) V diag(s_pre), U and V of signs.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <span>

namespace subbit {

/// y = s_post o (U (s_mid o (V (s_pre o x)))) + bias for x of n entries and y of m; NanoQuant's two-scale form
/// (arXiv 2602.06694, equation 1) where s_mid is empty, DBF's three-scale form where it is not.
template <class S>
struct low_rank_binary_linear {
    bit_matrix U;      ///< (m, r)
    bit_matrix V;      ///< (r, n)
    vector<S> s_post;  ///< m, of the outputs
    vector<S> s_pre;   ///< n, of the inputs
    vector<S> s_mid;   ///< r, or empty: ones
    vector<S> bias;    ///< m, or empty: zeros

    index rows() const { return U.rows(); }
    index cols() const { return V.cols(); }
    index rank() const { return U.cols(); }

    /// Throws shape_error, naming the part, unless all parts fit together.
    void validate() const {
        require_shape("low-rank binary layer: V", V.rows(), V.cols(), rank(), s_pre.size());
        require_size("low-rank binary layer: s_post", s_post.size(), rows());
        if (s_mid.size() != 0) require_size("low-rank binary layer: s_mid", s_mid.size(), rank());
        if (bias.size() != 0) require_size("low-rank binary layer: bias", bias.size(), rows());
    }

    /// Bits that the signs and the scales take; padding and bias are not counted.
    double storage_bits(double bits_per_scale = 16) const {
        const auto signs = static_cast<double>(rank()) * static_cast<double>(rows() + cols());
        return signs + bits_per_scale * static_cast<double>(s_post.size() + s_mid.size() + s_pre.size());
    }
    /// storage_bits for each entry of the matrix that the layer stands for.
    double bits_per_weight(double bits_per_scale = 16) const {
        return storage_bits(bits_per_scale) / (static_cast<double>(rows()) * static_cast<double>(cols()));
    }

    /// Y (T,m) = the layer's outputs for the rows of X (T,n); Y must not overlap X. Accumulates in S. Throws
    /// shape_error.
    template <class B>
    void apply(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        validate();
        require_shape("apply: X", X.rows, X.cols, X.rows, cols());
        require_shape("apply: Y", Y.rows, Y.cols, X.rows, rows());
        do_apply_layer(typename B::tag{}, b, *this, X, Y);
    }
    /// y (m) = the layer's output for x (n).
    template <class B>
    void apply(const B& b, std::span<const S> x, std::span<S> y) const {
        apply(b, matrix_view<const S>(x.data(), 1, std::ssize(x)), matrix_view<S>(y.data(), 1, std::ssize(y)));
    }
    template <class B>
    void apply(const B& b, const vector<S>& x, vector<S>& y) const {
        y.resize(rows());
        apply(b, span_of(x), span_of(y));
    }
    template <class B>
    void apply(const B& b, const matrix<S>& X, matrix<S>& Y) const {
        Y.resize(X.rows(), rows());
        apply(b, view(X), view(Y));
    }

    /// The matrix that the layer stands for, without the bias.
    matrix<S> dense() const {
        matrix<S> left = U.template unpack<S>();
        if (s_mid.size() != 0) left = left * s_mid.asDiagonal();
        return s_post.asDiagonal() * (left * V.template unpack<S>()) * s_pre.asDiagonal();
    }
};

}  // namespace subbit
