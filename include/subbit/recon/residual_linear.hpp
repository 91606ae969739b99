// A residual binary layer in training: packed paths, and the weight or the latents that their signs follow.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/backend/row_operations.hpp>
#include <subbit/factor/path_coupling.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/train/adamw.hpp>

#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// Whether the paths follow one weight, each what the ones before it leave, or have latents of their own.
enum class path_coupling {
    coupled,      ///< RaBiT: one full-precision weight
    independent,  ///< standard quantization-aware training, the baseline: one latent matrix a path
};

/// A sum of a few binary paths whose signs may still move (arXiv 2602.05367; rabit.md section 3).
///
/// The forward pass reads the packed paths alone; after_update() derives their signs from the latents. The gradient of
/// the effective weight is every latent's own, straight through; the scales' gradients are exact.
template <class S>
struct residual_linear {
    residual_binary_linear<S> layer;
    /// None: frozen. One: the weight that the paths are coupled by. One a path: independent.
    std::vector<matrix<S>> latents;  // (m, n) each

    matrix<S> d_weight;  ///< of the effective weight
    std::vector<vector<S>> d_post, d_pre;
    vector<S> d_bias;

    index rows() const { return layer.rows(); }
    index cols() const { return layer.cols(); }
    bool has_latents() const { return !latents.empty(); }

    /// Makes the paths follow W (m,n): their signs become the coupled ones, and independent latents begin as what the
    /// paths before each leave, so that both start from the same signs.
    template <host_backend B>
    void follow(const B& b, matrix<S> W, path_coupling coupling) {
        latents.assign(1, std::move(W));
        couple(b);
        if (coupling == path_coupling::coupled) return;
        for (index p = 0; p + 1 < layer.path_count(); ++p) {
            const matrix<S> taken = layer.paths[static_cast<std::size_t>(p)].dense();
            latents.push_back(latents.back());
            axpby(b, -1, taken, 1, latents.back());
        }
    }

    /// Y = sum_p ((X o s_pre_p) B_p^T) o s_post_p + bias.
    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& tape,
                 linear_workspace<S>& /*work*/) const {
        tape.unscaled.resize(layer.path_count() * X.rows, rows());
        for (index p = 0; p < layer.path_count(); ++p) {
            const auto& path = layer.paths[static_cast<std::size_t>(p)];
            path_product(b, X, const_span(path.s_pre), path.B.view().t(), const_span(path.s_post),
                         view(tape.unscaled).middle_rows(p * X.rows, X.rows), p > 0, Y);
        }
        if (layer.bias.size() != 0) add_to_rows(b, Y, const_span(layer.bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        layer.apply(b, X, Y);
    }

    /// Writes the gradients that `train` asks for, and dX, or adds to dX; dY is left as it is.
    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& tape, linear_workspace<S>& work) {
        prepare_gradients(train);
        if (train.biases && layer.bias.size() != 0) token_sums(b, const_view(dY), span_of(d_bias));
        if (train.latents && has_latents()) gemm(b, dY.t(), X, d_weight);
        if (dX.size() == 0 && !train.scales) return;
        const matrix_view<S> d_scaled = work.scaled(b, X.rows, X.cols);
        for (index p = 0; p < layer.path_count(); ++p) {
            const auto& path = layer.paths[static_cast<std::size_t>(p)];
            const auto at = static_cast<std::size_t>(p);
            path_product(b, const_view(dY), const_span(path.s_post), path.B.view(), const_span(path.s_pre), d_scaled,
                         accumulate || p > 0, dX);
            if (!train.scales) continue;
            token_dots(b, const_view(dY), const_view(tape.unscaled).middle_rows(p * X.rows, X.rows),
                       span_of(d_post[at]));
            token_dots(b, const_view(d_scaled), X, span_of(d_pre[at]));
        }
    }

    template <host_backend B>
    void parameters(const B&, const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        prepare_gradients(train);
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
        if (train.biases && layer.bias.size() != 0)
            list.push_back({name + ".bias", parameter_kind::bias, span_of(layer.bias), span_of(d_bias)});
    }

    /// f(name, values) for the scales and the bias, and for the latents: all that a stopped training must find again.
    template <class F>
    void visit_scales(F&& f) {
        for (std::size_t p = 0; p < layer.paths.size(); ++p) {
            const std::string path = "path" + std::to_string(p);
            f(path + ".s_post", span_of(layer.paths[p].s_post));
            f(path + ".s_pre", span_of(layer.paths[p].s_pre));
        }
        if (layer.bias.size() != 0) f(std::string("bias"), span_of(layer.bias));
    }
    template <class F>
    void visit_latents(F&& f) {
        for (std::size_t p = 0; p < latents.size(); ++p)
            f("latent" + std::to_string(p), latents[p]);
    }

    /// Copies of the sign matrices.
    template <host_backend B>
    std::vector<bit_matrix> signs(const B&) const {
        std::vector<bit_matrix> result;
        for (const auto& path : layer.paths)
            result.push_back(path.B);
        return result;
    }

    /// Moves a coupled weight `share` of the way to the value that it stands for, the middle of the cell in which no
    /// sign flips; independent latents away from zero by `share` of their mean magnitude.
    template <host_backend B>
    void widen_margin(const B& b, double share) {
        if (latents.size() == 1) {
            couple(b);  // leaves W - W_eff
            axpby(b, -share, d_weight, 1, latents.front());
            couple(b);
        } else
            for (auto& latent : latents)
                subbit::widen_margin(b, entries(latent), share);
    }

    /// After the optimizer moved latents and scales: the signs that follow from them.
    template <host_backend B>
    void after_update(const B& b) {
        if (latents.size() == 1) return couple(b);
        for (std::size_t p = 0; p < latents.size(); ++p)
            layer.paths[p].B = pack_signs(b, latents[p]);
    }

    /// Drops every gradient, and the latents unless they are wanted later: what is left is what will be stored.
    void harden(bool keep_latents) {
        d_weight.resize(0, 0);
        d_bias.resize(0);
        d_post.clear();
        d_pre.clear();
        if (!keep_latents) latents.clear();
    }

  private:
    /// What the paths leave is written where the gradient was: that has been spent.
    template <host_backend B>
    void couple(const B& b) {
        d_weight.resize(rows(), cols());
        couple_paths(b, latents.front(), layer, d_weight);
    }

    void prepare_gradients(const trainable& train) {
        if (train.latents && has_latents() && d_weight.size() == 0) d_weight.setZero(rows(), cols());
        if (train.scales && d_post.empty())
            for (const auto& path : layer.paths) {
                d_post.push_back(vector<S>::Zero(path.s_post.size()));
                d_pre.push_back(vector<S>::Zero(path.s_pre.size()));
            }
        if (train.biases && d_bias.size() == 0) d_bias.setZero(layer.bias.size());
    }
};

}  // namespace subbit
