// Turns options, which are words and numbers, into the library's settings.
#pragma once

#include "compress/options.hpp"

#include "model/block.hpp"
#include "model/nearest_word.hpp"

#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/factor/residual_svid.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace llama {

/// The value that a word stands for; value_error naming the option, the words that it allows and the nearest of them.
template <class T>
T parse_choice(const char* option, const std::string& word, std::initializer_list<std::pair<const char*, T>> choices) {
    std::string known;
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) {
        if (word == name) return value;
        known += (known.empty() ? "" : ", ") + std::string(name);
        names.emplace_back(name);
    }
    throw subbit::value_error("--" + std::string(option) + " is \"" + word + "\", expected one of: " + known +
                              nearest_remark(word, names));
}

enum class solver_kind { improved, paper, dbf, dual_svid };

inline solver_kind solver_of(const compress_options& o) {
    return parse_choice<solver_kind>("solver", o.solver,
                                     {{"improved", solver_kind::improved},
                                      {"paper", solver_kind::paper},
                                      {"dbf", solver_kind::dbf},
                                      {"dual_svid", solver_kind::dual_svid}});
}

inline subbit::penalty_schedule schedule_of(const compress_options& o) {
    using subbit::penalty_schedule;
    return parse_choice<penalty_schedule>("schedule", o.schedule,
                                          {{"linear", penalty_schedule::linear},
                                           {"cubic", penalty_schedule::cubic},
                                           {"logistic", penalty_schedule::logistic},
                                           {"exp_decay", penalty_schedule::exp_decay},
                                           {"exp_growth", penalty_schedule::exp_growth}});
}

inline subbit::latent_solve solves_of(const compress_options& o) {
    using subbit::latent_solve;
    return parse_choice<latent_solve>("solves", o.solves,
                                      {{"auto", latent_solve::by_backend},
                                       {"exact", latent_solve::exact},
                                       {"steps", latent_solve::conjugate_gradients}});
}

inline subbit::moment_options moments_of(const compress_options& o) {
    using subbit::clipping;
    subbit::moment_options m;
    m.mode = parse_choice<clipping>("clipping", o.clipping,
                                    {{"quantile", clipping::quantile},
                                     {"online", clipping::online},
                                     {"two_phase", clipping::two_phase},
                                     {"plain", clipping::plain}});
    m.keep = subbit::percentile{o.keep};
    return m;
}

/// True for residual binarization, false for low-rank layers.
inline bool is_rabit(const compress_options& o) {
    return parse_choice<bool>("method", o.method, {{"nanoquant", false}, {"rabit", true}});
}

/// How scales are stored.
inline subbit::scale_format stored_scales(const compress_options& o) {
    return o.scale_bits == 8 ? subbit::scale_format::log8 : subbit::scale_format::f16;
}

enum class rank_choice { even, uneven, model };

inline rank_choice rank_choice_of(const compress_options& o) {
    return parse_choice<rank_choice>(
        "ranks", o.ranks,
        {{"even", rank_choice::even}, {"uneven", rank_choice::uneven}, {"model", rank_choice::model}});
}

/// True where the ranks follow from what the compression of each layer costs the model.
inline bool measures_ranks(const compress_options& o) {
    return !is_rabit(o) && rank_choice_of(o) == rank_choice::model;
}

/// The number of paths for --method rabit; value_error unless --bits is a whole number of them.
inline index paths_of(const compress_options& o) {
    for (index paths = 1; paths <= subbit::max_paths; ++paths)
        if (o.bits == static_cast<double>(paths)) return paths;
    throw subbit::value_error("--bits is " + std::to_string(o.bits) + ", expected 1, 2, 3 or 4 with --method rabit");
}

inline subbit::path_coupling coupling_of(const compress_options& o) {
    using subbit::path_coupling;
    return parse_choice<path_coupling>(
        "coupling", o.coupling, {{"coupled", path_coupling::coupled}, {"independent", path_coupling::independent}});
}

/// The power of the moments' roots in the metric of a layer's error.
inline double metric_power(const compress_options& o) {
    return is_rabit(o) ? o.precondition : 1.0;
}

inline subbit::straight_through estimator_of(const compress_options& o) {
    using subbit::straight_through;
    return parse_choice<straight_through>("estimator", o.estimator,
                                          {{"identity", straight_through::identity},
                                           {"clipped", straight_through::clipped},
                                           {"smooth", straight_through::smooth}});
}

inline bool weighted_loss(const compress_options& o) {
    return parse_choice<bool>("importance", o.importance, {{"output", true}, {"ones", false}});
}

inline bool bf16_products(const compress_options& o) {
    return parse_choice<bool>("products", o.products, {{"f32", false}, {"bf16", true}});
}

/// True where a block's layers are all factorized before they are tuned, together.
inline bool is_joint(const compress_options& o) {
    return parse_choice<bool>("order", o.order, {{"joint", true}, {"layer", false}});
}

/// How many blocks the ranks of a job factorize together.
inline index blocks_at_once(const compress_options& o, const block_schema& block, int ranks) {
    return is_joint(o) ? subbit::blocks_at_once(block.shapes(), ranks) : 1;
}

/// The phases of one block; each block and layer has random streams of its own, so the
/// order of the work does not matter.
inline subbit::block_recipe block_recipe_of(const compress_options& o, const block_schema& block, index number) {
    const subbit::learning_rate none{0, false};
    subbit::block_recipe r;
    r.layer_order = block.turns();
    r.keep_latents = o.distill_latent_rate > 0;
    r.stored_scales = stored_scales(o);
    const auto rate = [&](double v) { return v > 0 ? subbit::learning_rate{v, o.relative_rates} : none; };
    r.tune_binary.epochs = static_cast<std::size_t>(o.epochs);
    r.tune_binary.batch_windows = static_cast<std::size_t>(o.batch);
    r.tune_binary.latents = rate(o.latent_rate);
    r.tune_binary.scales = rate(o.scale_rate);
    r.tune_binary.biases = rate(o.scale_rate);
    r.tune_binary.norms = rate(o.norm_rate);
    r.tune_binary.final_fraction = o.final_fraction;
    r.tune_binary.seed = o.seed * 1000003U + static_cast<std::uint64_t>(number);
    r.tune_binary = r.tune_binary.following_batch();
    if (!is_joint(o))
        r.order = subbit::layer_by_layer{{.epochs = static_cast<std::size_t>(o.weight_epochs),
                                          .batch_windows = static_cast<std::size_t>(o.weight_batch),
                                          .weights = subbit::learning_rate::absolute(o.weight_rate),
                                          .final_fraction = o.final_fraction,
                                          .seed = r.tune_binary.seed}};
    return r;
}

inline subbit::distillation_recipe distillation_of(const compress_options& o) {
    subbit::distillation_recipe d;
    const auto rate = [&](double v) { return subbit::learning_rate{v, o.relative_rates}; };
    d.phase.epochs = static_cast<std::size_t>(o.distill_epochs);
    d.phase.scales = rate(o.distill_scale_rate);
    d.phase.biases = rate(o.distill_scale_rate);
    d.phase.latents = rate(o.distill_latent_rate);
    d.phase.norms = rate(o.distill_norm_rate);
    d.latent_margin = o.distill_latent_margin;
    d.phase.warmup = static_cast<std::size_t>(o.distill_warmup);
    d.phase.seed = o.seed * 1000003U + 999983U;
    d.phase.batch_windows = static_cast<std::size_t>(o.distill_batch);
    d.phase.matrices = parse_choice<subbit::matrix_optimizer>(
        "matrix-optimizer", o.matrix_optimizer,
        {{"adamw", subbit::matrix_optimizer::adamw}, {"muon", subbit::matrix_optimizer::muon}});
    d.phase = d.phase.following_batch();
    d.label_share = o.distill_label_share;
    d.hidden_weight = o.distill_hidden_weight;
    return d;
}

/// The same for a backend: a GPU has enough memory to keep more activations than the host.
template <class B>
subbit::distillation_recipe distillation_on(const compress_options& o) {
    auto d = distillation_of(o);
    if constexpr (!subbit::host_backend<B>) d.tape_bytes = std::size_t{16} << 30;
    return d;
}

}  // namespace llama
