// The layer that replaces a dense weight matrix: W ~ diag(s_post) U diag(s_mid) V diag(s_pre), U and V of signs.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/bits/host_memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <initializer_list>
#include <span>
#include <type_traits>

namespace subbit {

/// How the sums of a product with packed signs are made.
enum class packed_precision {
    exact,  ///< in the scalar type, in a fixed order
    int8,   ///< float only, where the processor is faster with it: see apply_options
    bf16    ///< float only, where a GPU is faster with it: see apply_options
};

/// With packed_precision::int8, sums of four neighbouring inputs are rounded to 8 bits, with one scale for each 128
/// inputs. An output of B x, x of n entries, is then off by at most the sum over these runs of 32 q / 254, q the run's
/// largest |x_4k| + .. + |x_4k+3| (zero is taken for a q under 1e-30), and by the rounding of a float32 sum; for normal
/// x the error is some 7e-3 of the result's norm. A backend may be more exact: those without such a kernel, and double,
/// are.
///
/// With packed_precision::bf16, more than 4 vectors at once are rounded to bfloat16, inputs after s_pre and the numbers
/// between V and U after s_mid, and sums are float32: each of the two adds some 2^-9 to the relative error of the
/// result's norm. An infinity goes on as in a float sum. It is a GPU's whose products by warpgroups are
/// turned on (docs/gpu.md); elsewhere, and with fewer vectors, results are exact.
struct apply_options {
    packed_precision precision = packed_precision::exact;
};

/// y = s_post o (U (s_mid o (V (s_pre o x)))) + bias for x of n entries and y of m; NanoQuant's two-scale form
/// (arXiv 2602.06694, equation 1) where s_mid is empty, DBF's three-scale form where it is not.
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
    void apply(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const;
    /// y (m) = the layer's output for x (n).
    template <class B>
    void apply(const B& b, std::span<const S> x, std::span<S> y, apply_options options = {}) const {
        apply(b, matrix_view<const S>(x.data(), 1, std::ssize(x)), matrix_view<S>(y.data(), 1, std::ssize(y)), options);
    }
    template <class B>
    void apply(const B& b, const vector<S>& x, vector<S>& y, apply_options options = {}) const {
        y.resize(rows());
        apply(b, span_of(x), span_of(y), options);
    }
    template <class B>
    void apply(const B& b, const matrix<S>& X, matrix<S>& Y, apply_options options = {}) const {
        Y.resize(X.rows(), rows());
        apply(b, view(X), view(Y), options);
    }

    /// The matrix that the layer stands for, without the bias.
    matrix<S> dense() const {
        matrix<S> left = U.template unpack<S>();
        if (s_mid.size() != 0) left = left * s_mid.asDiagonal();
        return s_post.asDiagonal() * (left * V.template unpack<S>()) * s_pre.asDiagonal();
    }
};

/// A layer and where its outputs go: one part of apply_layers.
template <class S>
struct layer_output {
    const low_rank_binary_linear<S>& layer;
    matrix_view<S> Y;  ///< (T, m)
};

/// Several layers that read the same X (T,n), as one job: each Y (T,m) is what `layer.apply(b, X, Y)` gives, to the
/// last bit. The threads meet twice, whatever the number of layers. Throws shape_error.
template <class B, class S>
void apply_layers(const B& b, matrix_view<const S> X, std::span<const layer_output<std::type_identity_t<S>>> layers,
                  apply_options options = {}) {
    for (const auto& [layer, Y] : layers) {
        layer.validate();
        require_shape("apply: X", X.rows, X.cols, X.rows, layer.cols());
        require_shape("apply: Y", Y.rows, Y.cols, X.rows, layer.rows());
    }
    do_apply_layers(typename B::tag{}, b, layers, X, options);
}
/// The same for a list: apply_layers(b, X, {{q, view(Q)}, {k, view(K)}, {v, view(V)}}).
template <class B, class S>
void apply_layers(const B& b, matrix_view<const S> X,
                  std::initializer_list<layer_output<std::type_identity_t<S>>> layers, apply_options options = {}) {
    apply_layers(b, X, std::span<const layer_output<S>>(layers.begin(), layers.size()), options);
}

template <class S, class Memory>
template <class B>
void low_rank_binary_linear<S, Memory>::apply(const B& b, matrix_view<const S> X, matrix_view<S> Y,
                                              apply_options options) const {
    apply_layers(b, X, {{*this, Y}}, options);
}

}  // namespace subbit
