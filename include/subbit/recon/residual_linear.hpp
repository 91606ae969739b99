// A residual binary layer in training: packed paths, and the weight or the latents that their signs follow.
#pragma once

#include <subbit/backend/ops/layers.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/train/adamw.hpp>

#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// Whether the paths are derived from one weight, each from the residual of those before it, or have a latent each.
enum class path_coupling {
    coupled,      ///< RaBiT: one full-precision weight
    independent,  ///< standard quantization-aware training, the baseline: one latent matrix a path
};

/// A sum of a few binary paths that can be trained (RaBiT, arXiv 2602.05367; docs/method.md, eq. 46 and 47).
///
/// While it has latents, a pass expands the paths to the effective weight and multiplies by that: a training step costs
/// three dense products for any number of paths. The gradient of the effective weight is, straight through, that of
/// every latent, and gives the scales' exact gradients. after_update() derives the signs from the latents.
template <class S, class Memory = host_memory>
struct residual_linear {
    residual_binary_linear<S, Memory> layer;
    /// None: frozen. One: the weight from which coupled paths are derived. One for each path: independent.
    std::vector<matrix_in<S, Memory>> latents;  // (m, n) each

    matrix_in<S, Memory> d_weight;  ///< of the effective weight
    std::vector<vector_in<S, Memory>> d_post, d_pre;
    vector_in<S, Memory> d_bias;

    index rows() const { return layer.rows(); }
    index cols() const { return layer.cols(); }
    bool has_latents() const { return !latents.empty(); }

    /// Derives the paths from W (m,n): their signs become the coupled ones. Independent latents start as the residuals
    /// of the paths before each, so that both kinds start from the same signs.
    template <class B>
    void follow(const B& b, matrix_in<S, Memory> W, path_coupling coupling) {
        latents.clear();
        latents.push_back(std::move(W));
        couple(b);
        if (coupling == path_coupling::coupled) return;
        auto taken = allocate<S>(b, rows(), cols());
        for (std::size_t p = 0; p + 1 < layer.paths.size(); ++p) {
            expand_paths(b, paths().subspan(p, 1), taken);
            latents.push_back(copy_of(b, latents.back()));
            axpby(b, -1, taken, 1, latents.back());
        }
    }

    /// Y = X W_eff^T + bias; without latents by the packed paths.
    template <class B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S, Memory>& /*tape*/,
                 linear_workspace<S, Memory>& work) const {
        if constexpr (host_backend<B>)
            if (!has_latents()) return infer(b, X, Y);
        gemm(b, X, effective_weight(b, work).t(), Y);
        if (layer.has_bias()) add_to_rows(b, Y, const_span(layer.bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options options = {}) const {
        layer.apply(b, X, Y, options);
    }

    /// Writes the gradients that `train` selects, and writes dX or adds to it; dY does not change.
    template <class B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S, Memory>& /*tape*/, linear_workspace<S, Memory>& work) {
        prepare_gradients(b, train);
        const bool with_latents = train.latents && has_latents();
        if (train.biases && layer.has_bias()) token_sums(b, const_view(dY), span_of(d_bias));
        if (dX.size() != 0) gemm(b, dY, effective_weight(b, work), dX, 1, accumulate ? 1 : 0);
        if (!with_latents && !train.scales) return;
        const matrix_view<S> gradient = with_latents ? view(d_weight) : work.d_weight(b, rows(), cols());
        gemm(b, dY.t(), X, gradient);
        if (train.scales) path_gradients(b, gradient, paths(), std::span(d_post), std::span(d_pre));
    }

    template <class B>
    void parameters(const B& b, const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        prepare_gradients(b, train);
        if (train.latents)
            for (std::size_t p = 0; p < latents.size(); ++p)
                list.push_back(matrix_parameter(name + ".latent" + std::to_string(p), parameter_kind::latent,
                                                latents[p], d_weight));
        if (train.scales)
            for (std::size_t p = 0; p < layer.paths.size(); ++p) {
                const std::string path = name + ".path" + std::to_string(p);
                list.push_back(
                    {path + ".s_post", parameter_kind::scale, span_of(layer.paths[p].s_post), span_of(d_post[p])});
                list.push_back(
                    {path + ".s_pre", parameter_kind::scale, span_of(layer.paths[p].s_pre), span_of(d_pre[p])});
            }
        if (train.biases && layer.has_bias())
            list.push_back({name + ".bias", parameter_kind::bias, span_of(layer.bias), span_of(d_bias)});
    }

    /// Call f(name, values) for the scales and the bias, and for the latents: the state from which an interrupted
    /// training resumes.
    template <class F>
    void visit_scales(F&& f) {
        for (std::size_t p = 0; p < layer.paths.size(); ++p) {
            const std::string path = "path" + std::to_string(p);
            f(path + ".s_post", span_of(layer.paths[p].s_post));
            f(path + ".s_pre", span_of(layer.paths[p].s_pre));
        }
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
        std::vector<bit_matrix> result;
        for (const auto& path : layer.paths)
            result.push_back(on_host(b, path.B));
        return result;
    }

    /// W (m,n) <- the dense weight that the paths represent.
    template <class B>
    void expand(const B& b, matrix_view<S> W) const {
        expand_paths(b, paths(), W);
    }

    /// Moves a coupled weight by `share` of the way to the effective weight, the middle of the cell in which no sign
    /// flips (docs/method.md, eq. 50); independent latents away from zero by `share` of their mean magnitude (eq. 45).
    template <class B>
    void widen_margin(const B& b, double share) {
        if (latents.size() == 1) {
            couple(b);
            auto effective = allocate<S>(b, rows(), cols());
            expand_paths(b, paths(), effective);
            axpby(b, share, effective, 1 - share, latents.front());
            couple(b);
        } else
            for (auto& latent : latents)
                subbit::widen_margin(b, entries(latent), share);
    }

    /// Call it after the optimizer has moved latents and scales: derives the signs from them.
    template <class B>
    void after_update(const B& b) {
        if (latents.size() == 1) return couple(b);
        for (std::size_t p = 0; p < latents.size(); ++p)
            take_bits(b, latents[p], layer.paths[p].B);
    }

    /// Drops all gradients, and the latents unless a later phase needs them. What remains is what will be stored.
    void harden(bool keep_latents) {
        d_weight = matrix_in<S, Memory>();
        d_bias = vector_in<S, Memory>();
        d_post.clear();
        d_pre.clear();
        if (!keep_latents) latents.clear();
    }

  private:
    template <class Self, class F>
    static void visit_latents_of(Self& self, F& f) {
        for (std::size_t p = 0; p < self.latents.size(); ++p)
            f("latent" + std::to_string(p), self.latents[p]);
    }

    std::span<const binary_path<S, Memory>> paths() const { return layer.paths; }

    template <class B>
    void couple(const B& b) {
        couple_paths(b, latents.front(), std::span(layer.paths));
    }

    template <class B>
    matrix_view<const S> effective_weight(const B& b, linear_workspace<S, Memory>& work) const {
        const matrix_view<S> weight = work.weight(b, rows(), cols());
        expand_paths(b, paths(), weight);
        return weight;
    }

    template <class B>
    void prepare_gradients(const B& b, const trainable& train) {
        if (train.latents && has_latents() && view(d_weight).size() == 0) d_weight = allocate<S>(b, rows(), cols());
        if (train.scales && d_post.empty())
            for (index p = 0; p < layer.path_count(); ++p) {
                d_post.push_back(allocate<S>(b, rows()));
                d_pre.push_back(allocate<S>(b, cols()));
            }
        if (train.biases && layer.has_bias() && const_span(d_bias).empty()) d_bias = allocate<S>(b, rows());
    }
};

/// Layers moved into the backend's memory.
template <class B, class S>
residual_linear<S, memory_of<B>> upload(const B& b, residual_linear<S> host) {
    residual_linear<S, memory_of<B>> layer;
    layer.layer = upload(b, std::move(host.layer));
    for (auto& latent : host.latents)
        layer.latents.push_back(upload(b, std::move(latent)));
    return layer;
}

/// Layers that the host can read.
template <class B, class S>
residual_binary_linear<S> do_download(backend_tag, const B& b, const residual_binary_linear<S, B>& layer) {
    residual_binary_linear<S> host;
    for (const auto& path : layer.paths)
        host.paths.push_back({on_host(b, path.B), on_host(b, path.s_post), on_host(b, path.s_pre)});
    host.bias = on_host(b, layer.bias);
    return host;
}
template <class B, class S>
residual_linear<S> do_download(backend_tag, const B& b, const residual_linear<S, B>& layer) {
    residual_linear<S> host;
    host.layer = on_host(b, layer.layer);
    for (const auto& latent : layer.latents)
        host.latents.push_back(on_host(b, latent));
    return host;
}

}  // namespace subbit
