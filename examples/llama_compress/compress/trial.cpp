#include "compress/trial.hpp"

#include "compress/rank_measurement.hpp"

namespace llama {

std::vector<planned_phase> plan_of(const trial_seconds& t, const model_config& config, const compress_options& o) {
    const auto blocks = static_cast<double>(config.num_hidden_layers), windows = static_cast<double>(o.windows);
    const double tokens = windows * static_cast<double>(o.window_tokens);
    const auto measured = o.calibration_windows > 0 ? std::min(o.calibration_windows, o.windows) : o.windows;
    const double calibrated = static_cast<double>(measured) * static_cast<double>(o.window_tokens);
    const double passes = subbit::needs_two_passes(moments_of(o).mode) ? 2 : 1;
    std::vector<planned_phase> plan;
    plan.push_back({"calibrate", passes * blocks * (2 * t.read + calibrated * (t.forward + t.calibration)), -1});

    if (measures_ranks(o)) {
        const double layers = blocks * static_cast<double>(layer_count);
        const double passed = layers * static_cast<double>(o.rank_tokens) * blocks / 2;
        plan.push_back({"measure ranks", blocks * (t.read + t.factorize.of(rank_iterations)) + passed * t.forward, -1});
    }

    // A block is read twice, the original and the compressed one from the run folder, and the tokens pass through both.
    const auto judging = static_cast<double>(o.windows_for_errors() * o.window_tokens);
    const double solve =
        2 * t.read + t.factorize.of(o.iterations) + t.install + t.measure.of(judging) + 2 * tokens * t.forward;
    for (index l = 0; l < config.num_hidden_layers; ++l) {
        if (is_joint(o)) {
            plan.push_back({"factorize", solve, l});
            if (o.epochs > 0) plan.push_back({"tune block", t.tune.of(windows * static_cast<double>(o.epochs)), l});
            continue;
        }
        // The trial tuned one epoch of each kind.
        const double epochs = static_cast<double>(o.epochs + o.weight_epochs) / (o.weight_epochs > 0 ? 2 : 1);
        const double layer = (solve + t.tune.of(windows * epochs)) / static_cast<double>(layer_count);
        for (std::size_t k = 0; k < layer_count; ++k) {
            if (o.weight_epochs > 0) plan.push_back({"tune weights", layer / 2, l});
            plan.push_back({"tune layer", o.weight_epochs > 0 ? layer / 2 : layer, l});
        }
    }
    if (o.distill_epochs == 0) return plan;
    const double learned = static_cast<double>(o.windows_of_a_pass());
    if (o.distills_on_more())
        plan.push_back(
            {"teacher",
             blocks * (t.read + static_cast<double>(o.distillation_windows() * o.distillation_length()) * t.forward),
             -1});
    plan.push_back({"distill", static_cast<double>(o.distill_epochs) * learned * t.learn.of(blocks), -1});
    return plan;
}

}  // namespace llama
