// A linear layer y = x W^T + bias as reconstruction sees it: dense, or low-rank binary with or without latents. Both
// have the same forward and backward, so a model is written once, whatever its layers are.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/recon/row_operations.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/straight_through.hpp>

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace subbit {

/// Which parameters a backward pass makes gradients for; the others are constants.
struct trainable {
    bool weights = false;  ///< dense weights
    bool latents = false;  ///< U and V of binary layers, through the straight-through estimator
    bool scales = false;   ///< s_post, s_mid, s_pre of binary layers
    bool biases = false;
    bool norms = false;  ///< used by models, not by linear layers
};

/// What a layer's forward pass leaves for its backward pass; empty for a dense layer.
template <class S>
struct linear_tape {
    matrix<S> rank_activations;  ///< (T, r): (X o s_pre) V^T
    matrix<S> unscaled;          ///< (T, m): Y before s_post and the bias

    index size() const { return rank_activations.size() + unscaled.size(); }
};

/// Buffers that the layers of a model share: what lives only during one forward or backward call. They grow to what the
/// largest layer needs.
template <class S>
class linear_workspace {
  public:
    matrix_view<S> scaled(index rows, index cols) { return shaped(scaled_, rows, cols); }
    matrix_view<S> d_rank(index rows, index cols) { return shaped(d_rank_, rows, cols); }

  private:
    static matrix_view<S> shaped(std::vector<S>& memory, index rows, index cols) {
        const auto size = static_cast<std::size_t>(rows * cols);
        if (memory.size() < size) memory.resize(size);
        return {memory.data(), rows, cols};
    }

    std::vector<S> scaled_, d_rank_;
};

/// A full-precision layer: weight (m,n), bias m or empty.
template <class S>
struct dense_linear {
    matrix<S> weight;
    vector<S> bias;
    matrix<S> d_weight;
    vector<S> d_bias;

    index rows() const { return weight.rows(); }
    index cols() const { return weight.cols(); }

    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& /*tape*/,
                 linear_workspace<S>& /*work*/) const {
        gemm(b, X, view(weight).t(), Y);
        if (bias.size() != 0) add_to_rows(b, Y, const_span(bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        constexpr index few = 4;
        if (X.rows <= few)
            multiply_rows(b, X, const_view(weight), Y);
        else
            gemm(b, X, view(weight).t(), Y);
        if (bias.size() != 0) add_to_rows(b, Y, const_span(bias));
    }

    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& /*tape*/, linear_workspace<S>& /*work*/) {
        if (train.weights) {
            d_weight.resize(rows(), cols());
            gemm(b, dY.t(), X, d_weight);
        }
        if (train.biases && bias.size() != 0) {
            d_bias.resize(bias.size());
            token_sums(b, const_view(dY), span_of(d_bias));
        }
        if (dX.size() != 0) gemm(b, dY, weight, dX, 1, accumulate ? 1 : 0);
    }

    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        if (train.weights) {
            if (d_weight.size() == 0) d_weight.setZero(rows(), cols());
            list.push_back({name + ".weight", parameter_kind::weight, entries(weight), entries(d_weight)});
        }
        if (train.biases && bias.size() != 0) {
            if (d_bias.size() == 0) d_bias.setZero(bias.size());
            list.push_back({name + ".bias", parameter_kind::bias, span_of(bias), span_of(d_bias)});
        }
    }

    template <host_backend B>
    void after_update(const B&) {}

    static std::span<S> entries(matrix<S>& m) { return {m.data(), static_cast<std::size_t>(m.size())}; }
};

/// A low-rank binary layer whose bits may still be the signs of latents.
///
/// The forward pass reads the packed bits alone; with latents, after_update() packs their signs again. Latents empty:
/// frozen.
template <class S>
struct binary_linear {
    low_rank_binary_linear<S> layer;
    matrix<S> U_latent;  ///< (m, r) or empty
    matrix<S> V_latent;  ///< (r, n) or empty
    straight_through estimator = straight_through::identity;

    matrix<S> d_U, d_V;
    vector<S> d_post, d_mid, d_pre, d_bias;

    index rows() const { return layer.rows(); }
    index cols() const { return layer.cols(); }
    bool has_latents() const { return U_latent.size() != 0; }

    /// Y = ((X o s_pre) V^T o s_mid) U^T o s_post + bias.
    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& tape,
                 linear_workspace<S>& work) const {
        const matrix_view<S> scaled = work.scaled(X.rows, X.cols);
        scale_columns(b, X, const_span(layer.s_pre), scaled);
        tape.rank_activations.resize(X.rows, layer.rank());
        gemm(b, scaled, layer.V.view().t(), tape.rank_activations);
        tape.unscaled.resize(X.rows, rows());
        gemm(b, middle(b, tape, work), layer.U.view().t(), tape.unscaled);
        scale_columns(b, const_view(tape.unscaled), const_span(layer.s_post), Y);
        if (layer.bias.size() != 0) add_to_rows(b, Y, const_span(layer.bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        layer.apply(b, X, Y);
    }

    /// Writes the gradients that `train` asks for, and dX, or adds to dX; dY is destroyed.
    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& tape, linear_workspace<S>& work) {
        prepare_gradients(train);
        const bool latents = train.latents && has_latents();  // a finished layer beside one that is tuned has none
        if (train.biases && layer.bias.size() != 0) token_sums(b, const_view(dY), span_of(d_bias));
        if (train.scales) token_dots(b, const_view(dY), const_view(tape.unscaled), span_of(d_post));
        scale_columns(b, const_view(dY), const_span(layer.s_post), dY);
        if (latents) gemm(b, dY.t(), middle(b, tape, work), d_U);

        const matrix_view<S> d_rank = work.d_rank(X.rows, layer.rank());
        gemm(b, dY, layer.U.view(), d_rank);
        if (layer.s_mid.size() != 0) {
            if (train.scales) token_dots(b, const_view(d_rank), const_view(tape.rank_activations), span_of(d_mid));
            scale_columns(b, const_view(d_rank), const_span(layer.s_mid), d_rank);
        }

        const matrix_view<S> scaled = work.scaled(X.rows, X.cols);
        if (latents) {
            scale_columns(b, X, const_span(layer.s_pre), scaled);
            gemm(b, d_rank.t(), scaled, d_V);
            apply_straight_through(b, estimator, view(std::as_const(U_latent)), view(d_U));
            apply_straight_through(b, estimator, view(std::as_const(V_latent)), view(d_V));
        }
        if (dX.size() == 0 && !train.scales) return;
        const matrix_view<S> d_scaled = scaled;
        gemm(b, d_rank, layer.V.view(), d_scaled);
        if (train.scales) token_dots(b, const_view(d_scaled), X, span_of(d_pre));
        if (dX.size() == 0) return;
        if (accumulate)
            add_scaled_columns(b, const_view(d_scaled), const_span(layer.s_pre), dX);
        else
            scale_columns(b, const_view(d_scaled), const_span(layer.s_pre), dX);
    }

    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        prepare_gradients(train);
        if (train.latents && has_latents()) {
            list.push_back({name + ".U", parameter_kind::latent, dense_linear<S>::entries(U_latent),
                            dense_linear<S>::entries(d_U)});
            list.push_back({name + ".V", parameter_kind::latent, dense_linear<S>::entries(V_latent),
                            dense_linear<S>::entries(d_V)});
        }
        if (train.scales) {
            list.push_back({name + ".s_post", parameter_kind::scale, span_of(layer.s_post), span_of(d_post)});
            if (layer.s_mid.size() != 0)
                list.push_back({name + ".s_mid", parameter_kind::scale, span_of(layer.s_mid), span_of(d_mid)});
            list.push_back({name + ".s_pre", parameter_kind::scale, span_of(layer.s_pre), span_of(d_pre)});
        }
        if (train.biases && layer.bias.size() != 0)
            list.push_back({name + ".bias", parameter_kind::bias, span_of(layer.bias), span_of(d_bias)});
    }

    /// After the optimizer moved the latents: the bits are their signs again.
    template <host_backend B>
    void after_update(const B& b) {
        if (!has_latents()) return;
        layer.U = pack_signs(b, U_latent);
        layer.V = pack_signs(b, V_latent);
    }

    /// Drops every gradient, and the latents unless they are wanted later: what is left is what will be stored.
    void harden(bool keep_latents) {
        d_U.resize(0, 0);
        d_V.resize(0, 0);
        if (!keep_latents) {
            U_latent.resize(0, 0);
            V_latent.resize(0, 0);
        }
        for (vector<S>* v : {&d_post, &d_mid, &d_pre, &d_bias})
            v->resize(0);
    }

  private:
    /// What U multiplies: the rank activations, times s_mid where there is one (then in work.scaled).
    template <host_backend B>
    matrix_view<const S> middle(const B& b, const linear_tape<S>& tape, linear_workspace<S>& work) const {
        if (layer.s_mid.size() == 0) return const_view(tape.rank_activations);
        const matrix_view<S> scaled = work.scaled(tape.rank_activations.rows(), tape.rank_activations.cols());
        scale_columns(b, const_view(tape.rank_activations), const_span(layer.s_mid), scaled);
        return scaled;
    }

    void prepare_gradients(const trainable& train) {
        if (train.latents && has_latents() && d_U.size() == 0) {
            d_U.setZero(rows(), layer.rank());
            d_V.setZero(layer.rank(), cols());
        }
        if (train.scales && d_post.size() == 0) {
            d_post.setZero(layer.s_post.size());
            d_mid.setZero(layer.s_mid.size());
            d_pre.setZero(layer.s_pre.size());
        }
        if (train.biases && d_bias.size() == 0) d_bias.setZero(layer.bias.size());
    }
};

/// Either kind of layer.
template <class S>
class linear_layer {
  public:
    linear_layer() = default;
    linear_layer(dense_linear<S> dense) : state_(std::move(dense)) {}
    linear_layer(binary_linear<S> binary) : state_(std::move(binary)) {}

    bool is_dense() const { return std::holds_alternative<dense_linear<S>>(state_); }
    dense_linear<S>& dense() { return std::get<dense_linear<S>>(state_); }
    const dense_linear<S>& dense() const { return std::get<dense_linear<S>>(state_); }
    binary_linear<S>& binary() { return std::get<binary_linear<S>>(state_); }
    const binary_linear<S>& binary() const { return std::get<binary_linear<S>>(state_); }

    index rows() const {
        return std::visit([](const auto& l) { return l.rows(); }, state_);
    }
    index cols() const {
        return std::visit([](const auto& l) { return l.cols(); }, state_);
    }

    /// Y (tokens, m) = X (tokens, n) W^T + bias; `tape` is what backward will want to see again.
    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& tape,
                 linear_workspace<S>& work) const {
        std::visit([&](const auto& l) { l.forward(b, X, Y, tape, work); }, state_);
    }

    /// The same where no backward pass will follow: by the kernels that are fast for a few rows.
    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        std::visit([&](const auto& l) { l.infer(b, X, Y); }, state_);
    }

    /// Writes parameter gradients and dX (tokens, n), or adds to dX; an empty dX is not computed. dY is destroyed.
    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& tape, linear_workspace<S>& work) {
        std::visit([&](auto& l) { l.backward(b, train, X, dY, dX, accumulate, tape, work); }, state_);
    }

    /// Appends the trainable tensors; the pointers stay good until the layer changes its kind.
    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        std::visit([&](auto& l) { l.parameters(name, train, list); }, state_);
    }
    template <host_backend B>
    void after_update(const B& b) {
        std::visit([&](auto& l) { l.after_update(b); }, state_);
    }

  private:
    std::variant<dense_linear<S>, binary_linear<S>> state_;
};

}  // namespace subbit
