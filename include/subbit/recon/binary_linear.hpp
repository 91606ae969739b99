// A low-rank binary layer in training: packed bits, and perhaps the latents whose signs they are.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/recon/row_operations.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/straight_through.hpp>

#include <string>
#include <utility>
#include <vector>

namespace subbit {

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
            list.push_back(matrix_parameter(name + ".U", parameter_kind::latent, U_latent, d_U));
            list.push_back(matrix_parameter(name + ".V", parameter_kind::latent, V_latent, d_V));
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

    /// f(name, values) for the scales and the bias, and for the latents: all that a stopped training must find again.
    template <class F>
    void visit_scales(F&& f) {
        f(std::string("s_post"), span_of(layer.s_post));
        f(std::string("s_pre"), span_of(layer.s_pre));
        if (layer.s_mid.size() != 0) f(std::string("s_mid"), span_of(layer.s_mid));
        if (layer.bias.size() != 0) f(std::string("bias"), span_of(layer.bias));
    }
    template <class F>
    void visit_latents(F&& f) {
        if (!has_latents()) return;
        f(std::string("U_latent"), U_latent);
        f(std::string("V_latent"), V_latent);
    }

    /// Copies of the sign matrices.
    std::vector<bit_matrix> signs() const { return {layer.U, layer.V}; }

    /// Moves the latents away from zero by `share` of their mean magnitude; signs stay.
    template <host_backend B>
    void widen_margin(const B&, double share) {
        for (matrix<S>* latent : {&U_latent, &V_latent})
            if (latent->size() != 0)
                subbit::widen_margin(entries(*latent), share, subbit::mean_magnitude(entries(*latent)));
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

}  // namespace subbit
