// A compressor that is ready to use: LB-ADMM for every layer of a block.
#pragma once

#include <subbit/calib/moments.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/recon/compressed_layer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// The settings of an lb_compressor; those that have the names of lb_admm_options mean the same.
struct lb_compressor_options {
    std::optional<int> iterations = {};
    std::uint64_t seed = 0;  ///< of the first layer; that of each further layer is larger by 1
    scale_form scales = scale_form::two;
    admm_iteration iteration = improved_iteration{};
    std::optional<refine_options> refine = {};
    straight_through estimator = straight_through::identity;
    /// That to which the scales of tuned layers are rounded, if they are.
    std::optional<scale_format> stored_scales = scale_format::f16;
};

/// A layer_compressor: factorizes by lb_admm, measures by the error in its metric relative to the weight that was
/// factorized, of which it keeps a copy on the host, and finishes by rounding the scales.
///
///     reconstruct_block(b, block, data, {.compressor = lb_compressor(ranks, moments)});
template <class S>
class lb_compressor {
  public:
    /// One rank for each layer of the block, and as many moments, or none for ones. Throws shape_error if their numbers
    /// differ.
    explicit lb_compressor(std::vector<index> ranks, std::vector<layer_moments<S>> moments = {},
                           lb_compressor_options options = {})
        : ranks_(std::move(ranks)), moments_(std::move(moments)), options_(options), weights_(ranks_.size()) {
        if (moments_.empty()) moments_.resize(ranks_.size());
        require_size("lb_compressor: moments", std::ssize(moments_), std::ssize(ranks_));
    }

    /// Throws like lb_admm, and value_error for a layer without a rank.
    template <class B>
    compressed_layer<S> factorize(const B& b, index l, matrix_view<const S> weight) {
        if (l < 0 || l >= std::ssize(ranks_))
            throw value_error(name_of(l) + " of a block, where " + std::to_string(ranks_.size()) + " have ranks");
        const auto at = static_cast<std::size_t>(l);
        weights_[at] = as_eigen(weight);
        auto solved = lb_admm(b, weight,
                              {.rank = ranks_[at],
                               .input = moments_[at].input,
                               .output = moments_[at].output,
                               .iterations = options_.iterations,
                               .seed = options_.seed + at,
                               .scales = options_.scales,
                               .iteration = options_.iteration,
                               .refine = options_.refine,
                               .name = name_of(l)});
        const double error = solved.error;
        return {trainable_layer(std::move(solved), options_.estimator), error};
    }

    template <class B>
    double measure(const B& b, index l, const linear_layer<S, memory_of<B>>& layer) const {
        const auto at = static_cast<std::size_t>(l);
        return weighted_error(b, upload(b, weights_[at]), layer, moments_[at]);
    }

    template <class B>
    void finish(const B& b, index l, linear_layer<S, memory_of<B>>& layer) const {
        if (options_.stored_scales) round_scales(b, layer, name_of(l), *options_.stored_scales);
    }

  private:
    static std::string name_of(index l) { return "layer " + std::to_string(l); }

    std::vector<index> ranks_;
    std::vector<layer_moments<S>> moments_;
    lb_compressor_options options_;
    std::vector<matrix<S>> weights_;  // before they were factorized
};

}  // namespace subbit
