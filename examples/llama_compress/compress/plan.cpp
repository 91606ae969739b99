#include "compress/plan.hpp"

#include "compress/rank_measurement.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace llama {

std::vector<planned_phase> plan_of(const job_sizes& s, const compress_options& o, double rate) {
    // Norms, activations and softmax come between the products: these shares of the products' rate were measured.
    constexpr double forward_share = 0.7, tuning_share = 0.8, solver_share = 0.8;
    constexpr double adam_bytes = 40, memory_rate = 8e9;  // a step reads and writes a latent's moments, gradient, bits
    constexpr double refine_iterations = 25;              // what refits and bit descent cost, in iterations
    const double tokens = static_cast<double>(o.windows) * s.window;
    const double forward = rate * forward_share, tuning = rate * tuning_share;
    const auto passes = [](std::int64_t epochs) { return static_cast<double>(epochs); };
    const double head = 2 * s.hidden * s.vocabulary;

    constexpr auto layers = static_cast<double>(layer_count);
    std::vector<planned_phase> plan;
    const auto measured = o.calibration_windows > 0 ? std::min(o.calibration_windows, o.windows) : o.windows;
    const double calibration_passes = subbit::needs_two_passes(moments_of(o).mode) ? 2 : 1;
    plan.push_back({"calibrate",
                    calibration_passes * static_cast<double>(measured) * s.window *
                        (s.blocks * (6 * s.dense + 4 * s.attention) / forward + 2 * head / forward),
                    -1});

    if (measures_ranks(o)) {
        // Every layer's variant passes, on average, through half of the blocks.
        const double variants = s.compressed * static_cast<double>(layer_count);
        const auto measured_tokens = static_cast<double>(std::min(o.rank_tokens, o.windows * o.window_tokens));
        plan.push_back({"measure ranks",
                        rank_iterations * s.compressed * s.factorization_step / (rate * solver_share) +
                            variants * measured_tokens *
                                (s.blocks / 2 * (2 * s.dense + s.attention) + 2 * head / rank_token_stride) / forward,
                        -1});
    }
    if (o.samples_text()) {
        // A step reads all weights for as many texts as go together.
        const double steps = std::ceil(passes(o.distillation_windows()) / s.texts_at_once) * s.distillation_window;
        const double weights = s.blocks * s.dense + s.hidden * s.vocabulary;
        plan.push_back({"sample", steps * (4 * weights / memory_rate + 2 * s.texts_at_once * weights / forward), -1});
    }
    const double iterations = o.iterations + (o.refine ? refine_iterations : 0);
    const double steps = passes(o.windows) / static_cast<double>(o.batch);
    const double adam = steps * s.latents * adam_bytes / memory_rate;
    constexpr double sweep_bytes = 80;  // a path's turn in residual SVID: mostly the passes of the power iteration
    const double sweeps = is_rabit(o) ? static_cast<double>(o.rounds) * s.packed * sweep_bytes / memory_rate : 0;
    const double solve = iterations * s.factorization_step / (rate * solver_share) + sweeps +
                         tokens * (2 * (s.dense + s.packed) + 2 * s.attention) / forward;
    const double tune = passes(o.epochs) * (tokens * (4 * s.packed + s.learned + 4 * s.attention) / tuning + adam);
    const double check = 2 * passes(o.windows_for_errors()) * s.window * (2 * s.packed + s.attention) / forward;
    for (index l = 0; l < static_cast<index>(s.blocks); ++l) {
        if (is_joint(o)) {
            plan.push_back({"factorize", solve + check, l});
            if (o.epochs > 0) plan.push_back({"tune block", tune, l});
            continue;
        }
        const double dense_steps = passes(o.windows) / static_cast<double>(o.weight_batch);
        const double dense_adam = dense_steps * s.dense * adam_bytes / memory_rate / 2;
        for (std::size_t k = 0; k < layer_count; ++k) {
            const double factorization = (solve + check) / layers;
            if (o.weight_epochs > 0)
                plan.push_back(
                    {"tune weights",
                     passes(o.weight_epochs) * (tokens * (5 * s.dense + 4 * s.attention) / tuning + dense_adam), l});
            plan.push_back({"tune layer",
                            factorization +
                                passes(o.epochs) * (tokens * (4 * s.packed + 4 * s.attention) / tuning + adam / layers),
                            l});
        }
    }
    if (o.distill_epochs == 0) return plan;
    const double windows = passes(o.windows_of_a_pass());
    if (o.distills_on_more())
        plan.push_back({"teacher",
                        passes(o.distillation_windows()) * s.distillation_window * s.blocks *
                            (2 * s.dense + s.distillation_attention) / forward,
                        -1});
    const bool latents = o.distill_latent_rate > 0;
    const double teacher = o.distill_hidden_weight > 0 ? 2 * s.dense + s.distillation_attention : 0;
    const double recomputed = 1 - kept_tapes(s) / tapes_of_distillation(s);
    const double per_token = s.blocks * (4 * s.packed + recomputed * (2 * s.packed + s.distillation_attention) +
                                         (latents ? s.learned : 0) + teacher + 4 * s.distillation_attention) +
                             3 * head;
    const double step = s.blocks * (s.muon / rate + s.latents * adam_bytes / memory_rate);
    plan.push_back({"distill",
                    passes(o.distill_epochs) * windows *
                        (s.distillation_window * per_token / tuning +
                         (latents ? step / static_cast<double>(o.distill_batch) : 0.0)),
                    -1});
    return plan;
}

namespace {

/// How many ranks work on a phase side by side.
std::int64_t parts_of(const std::string& phase, const compress_job& job) {
    const auto of_batch = [&](std::int64_t windows) { return std::min<std::int64_t>(job.ranks, windows); };
    if (phase == "calibrate") return subbit::needs_two_passes(moments_of(job.options).mode) ? job.ranks : 1;
    if (phase == "factorize" || phase == "teacher") return job.ranks;
    if (phase == "tune block") return of_batch(job.options.batch);
    if (phase == "measure ranks") return job.ranks;
    return phase == "distill" ? of_batch(job.options.distill_batch) : 1;
}

}  // namespace

std::vector<planned_phase> shared_plan(std::vector<planned_phase> plan, const compress_job& job,
                                       const block_schema& block, index first_block) {
    const index together = blocks_at_once(job.options, block, job.ranks);
    std::vector<planned_phase> shared;
    planned_phase* factorize = nullptr;  // of the blocks that are factorized together, the first has the time of all
    shared.reserve(plan.size());
    for (auto& phase : plan) {
        phase.seconds /= static_cast<double>(parts_of(phase.what, job));
        if (phase.what == "factorize" && (phase.block - first_block) % together != 0) {
            factorize->seconds += phase.seconds;
            continue;
        }
        shared.push_back(std::move(phase));
        if (shared.back().what == "factorize") factorize = &shared.back();
    }
    return shared;
}

}  // namespace llama
