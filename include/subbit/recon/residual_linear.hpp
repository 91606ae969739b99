// A residual binary layer in training: packed paths, and the weight or the latents that their signs follow.
#pragma once

#include <subbit/backend/path_operations.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/recon/row_operations.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/straight_through.hpp>

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
/// While it has latents, a pass expands the paths to the effective weight and multiplies by that: a training step costs
/// three dense products, whatever the number of paths, and the scales' exact gradients come from that of the effective
/// weight, which is every latent's own, straight through. after_update() derives the signs from the latents.
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

    /// Y = X W_eff^T + bias; without latents by the packed paths.
    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& /*tape*/,
                 linear_workspace<S>& work) const {
        if (!has_latents()) return infer(b, X, Y);
        gemm(b, X, effective_weight(b, work).t(), Y);
        if (layer.bias.size() != 0) add_to_rows(b, Y, const_span(layer.bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        layer.apply(b, X, Y);
    }

    /// Writes the gradients that `train` asks for, and dX, or adds to dX; dY is left as it is.
    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& /*tape*/, linear_workspace<S>& work) {
        prepare_gradients(train);
        const bool latents = train.latents && has_latents();
        if (train.biases && layer.bias.size() != 0) token_sums(b, const_view(dY), span_of(d_bias));
        if (dX.size() != 0) gemm(b, dY, effective_weight(b, work), dX, 1, accumulate ? 1 : 0);
        if (!latents && !train.scales) return;
        const matrix_view<S> gradient = latents ? view(d_weight) : work.d_weight(rows(), cols());
        gemm(b, dY.t(), X, gradient);
        if (train.scales)
            path_gradients(b, gradient, paths(), std::span<vector<S>>(d_post), std::span<vector<S>>(d_pre));
    }

    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
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
    std::vector<bit_matrix> signs() const {
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
            couple(b);
            matrix<S> effective(rows(), cols());
            expand_paths(b, paths(), effective);
            axpby(b, share, effective, 1 - share, latents.front());
            couple(b);
        } else
            for (auto& latent : latents)
                subbit::widen_margin(entries(latent), share, mean_magnitude(entries(latent)));
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
    std::span<const binary_path<S>> paths() const { return layer.paths; }

    template <host_backend B>
    void couple(const B& b) {
        couple_paths(b, latents.front(), std::span<binary_path<S>>(layer.paths));
    }

    template <host_backend B>
    matrix_view<const S> effective_weight(const B& b, linear_workspace<S>& work) const {
        const matrix_view<S> weight = work.weight(rows(), cols());
        expand_paths(b, paths(), weight);
        return weight;
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
