// Compresses one layer's weight by the method and solver that the options name, and the layers of a block.
#pragma once

#include "compress/recipe.hpp"

#include <subbit/calib/moments.hpp>
#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/factor/residual_svid.hpp>
#include <subbit/recon/compressor.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// One layer to compress.
template <class S>
struct layer_task {
    index rank = 0;  ///< of a low-rank layer
    const subbit::layer_moments<S>& moments;
    std::uint64_t seed = 0;
    std::string name = "W";  ///< what messages call it
};

/// A layer's weight as signs, scales and latents, by the solver that the options name.
template <class B, class S>
subbit::factorization<S> run_solver(const B& b, matrix_view<const S> weight, const compress_options& o,
                                    const layer_task<S>& task) {
    const auto kind = solver_of(o);
    const auto scales = o.scales == 3 ? subbit::scale_form::three : subbit::scale_form::two;
    const auto filled = [&](auto options) {
        options.rank = task.rank;
        options.input = task.moments.input;
        options.output = task.moments.output;
        options.refine =
            o.refine ? subbit::refine_options{} : subbit::refine_options{.refit_rounds = 0, .descent = std::nullopt};
        options.name = task.name;
        return options;
    };
    if (kind == solver_kind::dbf) {
        auto options = filled(subbit::dbf_admm_options<S>{});
        options.iterations = o.iterations;
        options.solve = solves_of(o);
        options.seed = task.seed;
        return subbit::dbf_admm(b, weight, options);
    }
    if (kind == solver_kind::dual_svid) {
        auto options = filled(subbit::dual_svid_options<S>{});
        options.scales = scales;
        return subbit::dual_svid(b, weight, options);
    }
    auto options = filled(subbit::lb_admm_options<S>{});
    options.iterations = o.iterations;
    options.seed = task.seed;
    options.scales = scales;
    if (kind == solver_kind::paper) options.iteration = subbit::paper_iteration{schedule_of(o), o.reg};
    options.solve = solves_of(o);
    return subbit::lb_admm(b, weight, options);
}

/// A layer's weight (m, n) as the paths of a residual layer, with the latents from which they are derived.
template <class B, class S>
subbit::compressed_layer<S> split_into_paths(const B& b, matrix_view<const S> weight, const compress_options& o,
                                             const layer_task<S>& task) {
    auto f = subbit::residual_svid(b, weight,
                                   {.paths = paths_of(o),
                                    .rounds = o.rounds,
                                    .input = task.moments.input,
                                    .output = task.moments.output,
                                    .power = o.precondition,
                                    .name = task.name});
    subbit::residual_linear<S> residual;
    residual.layer = std::move(f.layer);
    auto moved = subbit::upload(b, std::move(residual));
    moved.follow(b, subbit::upload(b, weight), coupling_of(o));
    return {subbit::download(b, std::move(moved)), f.error};
}

/// A layer's weight (m, n), on the host, compressed by the method that the options name; and its relative error in the
/// metric of the method.
template <class B, class S>
subbit::compressed_layer<S> compress_layer(const B& b, matrix_view<const S> weight, const compress_options& o,
                                           const layer_task<S>& task) {
    if (is_rabit(o)) return split_into_paths(b, weight, o, task);
    auto f = run_solver(b, weight, o, task);
    const double error = f.error;
    return {subbit::trainable_layer(std::move(f), estimator_of(o)), error};
}

/// The program's layer_compressor: it compresses a block's layers as the options say, compares them with the original's
/// weights, and rounds their scales to those of the file.
template <class B>
class block_compressor {
  public:
    using layer_type = linear_layer<float, memory_of<B>>;

    struct settings {
        std::span<const subbit::layer_moments<float>> moments;  ///< one a layer
        std::span<const index> ranks;                           ///< likewise
        std::string prefix = {};                                ///< of the layers' names
        std::uint64_t seed = 0;                                 ///< of the block's first layer
    };

    block_compressor(const block_schema& block, const compress_options& options, settings s)
        : options_(options), settings_(std::move(s)) {
        for (const auto& linear : block.linears)
            names_.push_back(settings_.prefix + linear.name);
    }

    /// Keeps copies of the original's weights, with which measure() compares.
    template <class Block>
    void keep_originals(const Block& original) {
        for (index k = 0; k < original.layer_total(); ++k)
            weights_.push_back(original.layer(k).dense().weight);
    }

    subbit::compressed_layer<float> factorize(const B& stream, index k, matrix_view<const float> weight) const {
        const auto l = static_cast<std::size_t>(k);
        return compress_layer(
            stream, weight, options_,
            layer_task<float>{settings_.ranks[l], settings_.moments[l], settings_.seed + l, names_[l]});
    }

    double measure(const B& b, index k, const layer_type& layer) const {
        const auto l = static_cast<std::size_t>(k);
        const auto tempered = [&](const vector<float>& moments) {
            return subbit::tempered(subbit::diagonal<float>(moments), metric_power(options_));
        };
        const auto& [input, output] = settings_.moments[l];
        return subbit::weighted_error(b, weights_[l], layer, {tempered(input), tempered(output)});
    }

    void finish(const B& b, index k, layer_type& layer) const {
        subbit::round_scales(b, layer, names_[static_cast<std::size_t>(k)], stored_scales(options_));
    }

  private:
    const compress_options& options_;
    settings settings_;
    std::vector<std::string> names_;
    std::vector<matrix_in<float, memory_of<B>>> weights_;
};

}  // namespace llama
