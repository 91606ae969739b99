// A low-rank binary layer in training: packed bits, and perhaps the latents whose signs they are.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/layers.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/train/adamw.hpp>

#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// A low-rank binary layer whose bits are fixed or, while it is trained, the signs of latents.
///
/// The forward pass reads only the packed bits; after_update() packs the latents' signs again. Without latents the
/// layer is frozen. Gradients: docs/method.md, eq. 38.
template <class S, class Memory = host_memory>
struct binary_linear {
    low_rank_binary_linear<S, Memory> layer;
    matrix_in<S, Memory> U_latent;  ///< (m, r) or empty
    matrix_in<S, Memory> V_latent;  ///< (r, n) or empty
    straight_through estimator = straight_through::identity;

    matrix_in<S, Memory> d_U, d_V;
    vector_in<S, Memory> d_post, d_mid, d_pre, d_bias;

    index rows() const { return layer.rows(); }
    index cols() const { return layer.cols(); }
    bool has_latents() const { return view(U_latent).size() != 0; }

    /// Y = ((X o s_pre) V^T o s_mid) U^T o s_post + bias.
    template <class B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S, Memory>& tape,
                 linear_workspace<S, Memory>& work) const {
        const matrix_view<S> scaled = work.scaled(b, X.rows, X.cols);
        scale_columns(b, X, const_span(layer.s_pre), scaled);
        reshape(b, tape.rank_activations, X.rows, layer.rank());
        gemm(b, scaled, layer.V.view().t(), tape.rank_activations);
        reshape(b, tape.unscaled, X.rows, rows());
        gemm(b, middle(b, tape, work), layer.U.view().t(), tape.unscaled);
        scale_columns(b, const_view(tape.unscaled), const_span(layer.s_post), Y);
        if (layer.has_bias()) add_to_rows(b, Y, const_span(layer.bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const {
        layer.apply(b, X, Y, options);
    }

    /// Writes the gradients that `train` selects, and writes dX or adds to it; dY is overwritten.
    template <class B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S, Memory>& tape, linear_workspace<S, Memory>& work) {
        prepare_gradients(b, train);
        const bool latents = train.latents && has_latents();  // a finished layer has none, while another one is tuned
        if (train.biases && layer.has_bias()) token_sums(b, const_view(dY), span_of(d_bias));
        scale_gradient(b, train, dY, tape.unscaled, layer.s_post, d_post);
        if (latents) gemm(b, dY.t(), middle(b, tape, work), d_U);

        const matrix_view<S> d_rank = work.d_rank(b, X.rows, layer.rank());
        gemm(b, dY, layer.U.view(), d_rank);
        if (layer.has_mid()) scale_gradient(b, train, d_rank, tape.rank_activations, layer.s_mid, d_mid);

        const matrix_view<S> scaled = work.scaled(b, X.rows, X.cols);
        if (latents) {
            scale_columns(b, X, const_span(layer.s_pre), scaled);
            gemm(b, d_rank.t(), scaled, d_V);
            apply_straight_through(b, estimator, const_view(U_latent), view(d_U));
            apply_straight_through(b, estimator, const_view(V_latent), view(d_V));
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

    template <class B>
    void parameters(const B& b, const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        prepare_gradients(b, train);
        const auto add_latents = [&](const char* which, auto& latents, auto& gradient, auto& bits) {
            list.push_back(matrix_parameter(name + which, parameter_kind::latent, latents, gradient));
            // The other estimators' gradients depend on the latents themselves.
            if (estimator == straight_through::identity) list.back().signs = bits.words();
        };
        if (train.latents && has_latents()) {
            add_latents(".U", U_latent, d_U, layer.U);
            add_latents(".V", V_latent, d_V, layer.V);
        }
        if (train.scales) {
            list.push_back({name + ".s_post", parameter_kind::scale, span_of(layer.s_post), span_of(d_post)});
            if (layer.has_mid())
                list.push_back({name + ".s_mid", parameter_kind::scale, span_of(layer.s_mid), span_of(d_mid)});
            list.push_back({name + ".s_pre", parameter_kind::scale, span_of(layer.s_pre), span_of(d_pre)});
        }
        if (train.biases && layer.has_bias())
            list.push_back({name + ".bias", parameter_kind::bias, span_of(layer.bias), span_of(d_bias)});
    }

    /// Call f(name, values) for the scales and the bias, and for the latents: the state from which an interrupted
    /// training resumes.
    template <class F>
    void visit_scales(F&& f) {
        f(std::string("s_post"), span_of(layer.s_post));
        f(std::string("s_pre"), span_of(layer.s_pre));
        if (layer.has_mid()) f(std::string("s_mid"), span_of(layer.s_mid));
        if (layer.has_bias()) f(std::string("bias"), span_of(layer.bias));
    }
    template <class F>
    void visit_latents(F&& f) {
        visit_latents_of(*this, f);
    }
    template <class F>
    void visit_latents(F&& f) const {
        visit_latents_of(*this, f);
    }

    /// Copies of the sign matrices on the host.
    template <class B>
    std::vector<bit_matrix> signs(const B& b) const {
        return {on_host(b, layer.U), on_host(b, layer.V)};
    }

    /// W (m,n) <- the dense weight that bits and scales represent.
    template <class B>
    void expand(const B& b, matrix_view<S> W) const {
        auto mid = layer.s_mid;
        if (!layer.has_mid()) {
            mid = allocate<S>(b, layer.rank());
            fill(b, 1, as_column(span_of(mid)));
        }
        const binary_path<S, Memory> left{layer.U, layer.s_post, std::move(mid)};
        auto scaled = allocate<S>(b, rows(), layer.rank());
        expand_paths(b, std::span(&left, 1), scaled);
        gemm(b, scaled, layer.V.view(), W);
        scale(b, W, std::span<const S>(), const_span(layer.s_pre));
    }

    /// Moves the latents away from zero by `share` of their mean magnitude (docs/method.md, eq. 45); signs do not
    /// change.
    template <class B>
    void widen_margin(const B& b, double share) {
        if (!has_latents()) return;
        subbit::widen_margin(b, entries(U_latent), share);
        subbit::widen_margin(b, entries(V_latent), share);
    }

    /// Call it after the optimizer has moved the latents: sets the bits to their signs.
    template <class B>
    void after_update(const B& b) {
        if (!has_latents()) return;
        take_bits(b, U_latent, layer.U);
        take_bits(b, V_latent, layer.V);
    }

    /// Drops all gradients, and the latents unless a later phase needs them. What remains is what will be stored.
    void harden(bool keep_latents) {
        for (auto* m : {&d_U, &d_V})
            *m = matrix_in<S, Memory>();
        for (auto* v : {&d_post, &d_mid, &d_pre, &d_bias})
            *v = vector_in<S, Memory>();
        if (keep_latents) return;
        for (auto* m : {&U_latent, &V_latent})
            *m = matrix_in<S, Memory>();
    }

  private:
    template <class Self, class F>
    static void visit_latents_of(Self& self, F& f) {
        if (!self.has_latents()) return;
        f(std::string("U_latent"), self.U_latent);
        f(std::string("V_latent"), self.V_latent);
    }

    /// The input of U: the rank activations, times s_mid if there is one (then in work.scaled).
    template <class B>
    matrix_view<const S> middle(const B& b, const linear_tape<S, Memory>& tape,
                                linear_workspace<S, Memory>& work) const {
        if (!layer.has_mid()) return const_view(tape.rank_activations);
        const matrix_view<S> scaled = work.scaled(b, view(tape.rank_activations).rows, layer.rank());
        scale_columns(b, const_view(tape.rank_activations), const_span(layer.s_mid), scaled);
        return scaled;
    }

    /// Turns X, the gradient of the scaled numbers, into that of `unscaled`; if scales are trained, writes theirs to
    /// `gradient`.
    template <class B>
    static void scale_gradient(const B& b, const trainable& train, matrix_view<S> X,
                               const matrix_in<S, Memory>& unscaled, const vector_in<S, Memory>& factor,
                               vector_in<S, Memory>& gradient) {
        if (train.scales)
            token_dots_and_scale(b, X, const_view(unscaled), span_of(gradient), const_span(factor));
        else
            scale_columns(b, matrix_view<const S>(X), const_span(factor), X);
    }

    template <class B>
    void prepare_gradients(const B& b, const trainable& train) {
        if (train.latents && has_latents() && view(d_U).size() == 0) {
            d_U = allocate<S>(b, rows(), layer.rank());
            d_V = allocate<S>(b, layer.rank(), cols());
        }
        if (train.scales && const_span(d_post).empty()) {
            d_post = allocate<S>(b, rows());
            if (layer.has_mid()) d_mid = allocate<S>(b, layer.rank());
            d_pre = allocate<S>(b, cols());
        }
        if (train.biases && layer.has_bias() && const_span(d_bias).empty()) d_bias = allocate<S>(b, rows());
    }
};

/// A layer moved into the backend's memory.
template <class B, class S>
binary_linear<S, memory_of<B>> upload(const B& b, binary_linear<S> host) {
    binary_linear<S, memory_of<B>> layer;
    layer.layer = upload(b, std::move(host.layer));
    layer.U_latent = upload(b, std::move(host.U_latent));
    layer.V_latent = upload(b, std::move(host.V_latent));
    layer.estimator = host.estimator;
    return layer;
}

/// Layers that the host can read.
template <class B, class S>
low_rank_binary_linear<S> do_download(backend_tag, const B& b, const low_rank_binary_linear<S, B>& layer) {
    return {on_host(b, layer.U),     on_host(b, layer.V),     on_host(b, layer.s_post),
            on_host(b, layer.s_pre), on_host(b, layer.s_mid), on_host(b, layer.bias)};
}
template <class B, class S>
binary_linear<S> do_download(backend_tag, const B& b, const binary_linear<S, B>& layer) {
    binary_linear<S> host;
    host.layer = on_host(b, layer.layer);
    host.U_latent = on_host(b, layer.U_latent);
    host.V_latent = on_host(b, layer.V_latent);
    host.estimator = layer.estimator;
    return host;
}

}  // namespace subbit
