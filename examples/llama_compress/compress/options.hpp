// Every hyperparameter of `compress`: its name on the command line, its default under each recipe, its unit.
//
// visit() lists them all: the command line, the fingerprint of a run and the report are made from it.
#pragma once

#include <subbit/calib/moments.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/recon/block_reconstruction.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace llama {

struct compress_options {
    std::string recipe = "tuned";
    std::string method = "nanoquant";

    // What is compressed, and how far
    double bits = 1.0;
    int granularity = 8;
    int minimum_rank = 0;
    int scales = 2;
    int scale_bits = 16;
    std::string ranks = "uneven";
    std::int64_t rank_tokens = 512;

    // Text
    std::int64_t windows = 128;
    std::int64_t window_tokens = 2048;
    std::uint64_t seed = 0;
    std::string blocks;

    // Calibration
    std::int64_t calibration_windows = 0;
    std::string clipping = "quantile";
    double keep = 0.999;
    double shrinkage = 0.4;

    // Factorization
    std::string solver = "improved";
    int iterations = 60;
    std::string schedule = "linear";
    double reg = 3e-2;
    std::string solves = "auto";
    bool refine = true;

    // Residual binarization (method = rabit)
    int rounds = 8;
    double precondition = 0.5;
    std::string coupling = "coupled";
    std::int64_t probe_steps = 32;

    // Block reconstruction
    std::string order = "joint";
    std::int64_t epochs = 8;
    std::int64_t weight_epochs = 0;
    std::int64_t weight_batch = 4;
    double weight_rate = 1e-4;
    std::int64_t batch = 1;
    double latent_rate = 0.025;
    double scale_rate = 0.0025;
    double norm_rate = 0;
    bool relative_rates = true;
    double final_fraction = 1e-4;
    double held_back = 0.04;
    std::string estimator = "identity";
    std::string importance = "output";

    // Model reconstruction
    std::int64_t distill_epochs = 8;
    std::string distill_text;
    std::int64_t distill_windows = 0;
    std::int64_t distill_window_tokens = 0;
    double distill_scale_rate = 0.008;
    double distill_latent_rate = 0;
    double distill_latent_margin = 0.12;
    double distill_norm_rate = 0;
    std::int64_t distill_warmup = 0;
    std::int64_t distill_batch = 1;
    double distill_label_share = 0;
    double distill_hidden_weight = 0;
    std::string matrix_optimizer = "adamw";

    // Arithmetic
    std::string products = "bf16";

    /// Whether distillation has windows of its own, beyond the calibration's.
    bool distills_on_more() const { return distill_epochs > 0 && distill_windows > 0; }
    /// Tokens in each window that distillation sees.
    std::int64_t distillation_length() const {
        return distills_on_more() && distill_window_tokens > 0 ? distill_window_tokens : window_tokens;
    }
    /// Whether distillation has a text of its own, of which each pass sees other windows.
    bool distills_on_other_text() const { return distills_on_more() && !distill_text.empty(); }
    /// Whether the original writes that text.
    bool samples_text() const { return distills_on_other_text() && distill_text == "self"; }
    /// Of so many windows, those that judge a phase and are not learned from: also those that make no whole batch,
    /// which would leave ranks with nothing to do.
    std::int64_t held_back_of(std::int64_t count, std::int64_t windows_of_a_batch) const {
        const auto share = std::min<std::int64_t>(std::llround(held_back * static_cast<double>(count)), count - 1);
        const auto learned = (count - share) / windows_of_a_batch * windows_of_a_batch;
        return share > 0 && learned > 0 ? count - learned : share;
    }
    /// The calibration's windows that are held back.
    std::int64_t windows_held_back() const { return held_back_of(windows, batch); }
    /// The calibration windows that show a block's error: those that are held back, or all where none is.
    std::int64_t windows_for_errors() const { return windows_held_back() > 0 ? windows_held_back() : windows; }
    /// The windows of a pass of distillation, with those that are held back.
    std::int64_t windows_of_a_pass() const { return distills_on_more() ? distill_windows : windows; }
    std::int64_t windows_held_back_in_distillation() const {
        return held_back_of(windows_of_a_pass(), distills_on_other_text() ? 1 : distill_batch);
    }
    /// The different windows that distillation sees, where it has windows of its own. Those that are held back are
    /// among them, but beyond them in a text of its own, where each pass has all that was asked for.
    std::int64_t distillation_windows() const {
        return distills_on_other_text() ? distill_windows * distill_epochs + windows_held_back_in_distillation()
                                        : distill_windows;
    }
    /// Tokens of the text that distillation sees; none where it has a text of its own, or the calibration's windows.
    std::int64_t tokens_to_distill_on() const {
        return distills_on_more() && !distills_on_other_text() ? distill_windows * distillation_length() : 0;
    }
    /// Tokens that the text must have. Where it has more, the windows of distillation begin later, at most after the
    /// calibration's: most of the text is then seen for the first time.
    std::int64_t tokens_wanted() const { return std::max(windows * window_tokens, tokens_to_distill_on()); }
    /// The token of a text of so many with which the windows of distillation begin.
    std::int64_t first_to_distill_on(std::int64_t tokens) const {
        return std::min(windows * window_tokens, tokens - tokens_to_distill_on());
    }

    /// Calls f(name, member, help) for every option but the recipe, in the order of the help text.
    template <class Options, class F>
    static void visit(Options& o, F&& f) {
        f("method", o.method, "nanoquant: low-rank binary layers; rabit: sums of binary paths, one path a bit");
        f("bits", o.bits, "bits per weight, scales included; with rabit: the number of paths, 1 to 4");
        f("granularity", o.granularity, "ranks are multiples of this");
        f("minimum-rank", o.minimum_rank,
          "lower ranks are raised to this, even beyond the bits (0: never beyond the bits)");
        f("scales", o.scales, "scale vectors per layer: 2 (s_post, s_pre) or 3 (also s_mid)");
        f("scale-bits", o.scale_bits, "bits of a stored scale: 16 (a float) or 8 (a logarithmic grid for each vector)");
        f("ranks", o.ranks,
          "even: the same bits per weight for every layer; uneven: less rank for q and k, more for v, o and down; "
          "model: "
          "by what compressing each layer alone costs the model, measured first");
        f("rank-tokens", o.rank_tokens, "tokens on which --ranks model measures");
        f("windows", o.windows, "calibration windows");
        f("window-tokens", o.window_tokens, "tokens per window");
        f("blocks", o.blocks, "FIRST:END, the blocks to compress, the others left as they are (default: all)");
        f("seed", o.seed, "seed of the random starts and of the order of the windows");
        f("calibration-windows", o.calibration_windows, "windows on which the moments are measured (0: all)");
        f("clipping", o.clipping,
          "how calibration clips large tokens: quantile (over all tokens, two passes), as in the paper by windows: "
          "online (one pass) or two_phase, or plain (not at all)");
        f("keep", o.keep, "fraction of the tokens that clipping leaves unchanged");
        f("shrinkage", o.shrinkage, "shrinkage of the moments toward their mean, 0 to 1");
        f("solver", o.solver, "improved, paper (LB-ADMM as published), dbf (three scales) or dual_svid (three scales)");
        f("iterations", o.iterations, "iterations of the solver");
        f("schedule", o.schedule,
          "how the penalty of the paper's solver grows: linear, cubic, logistic, exp_decay, exp_growth");
        f("reg", o.reg, "regularization of the Gram matrix in the paper's solver");
        f("solves", o.solves,
          "how the solver's linear systems are solved: exact, steps (of conjugate gradients), or auto: steps on a GPU");
        f("refine", o.refine, "1: refits of the scales and bit descent after the solver; 0: none");
        f("rounds", o.rounds, "rounds over the paths in rabit's initialization (1: greedy)");
        f("precondition", o.precondition,
          "power of the moments' roots that weight rabit's initialization, on both sides (0: no weighting)");
        f("coupling", o.coupling,
          "rabit's paths: coupled (derived from one weight), or independent (a latent each; the baseline)");
        f("probe-steps", o.probe_steps, "distillation steps between two measurements of rabit's paths (0: none)");
        f("order", o.order,
          "joint: factorize all layers of a block, then tune them together; layer: one by one, as in the paper");
        f("epochs", o.epochs, "passes over the windows in each tuning phase of a block");
        f("weight-epochs", o.weight_epochs,
          "passes that tune the dense weights before each layer (only with --order layer)");
        f("weight-batch", o.weight_batch, "windows per step of these passes");
        f("weight-rate", o.weight_rate, "learning rate of these passes, absolute");
        f("batch", o.batch, "windows per step of the other tuning phases; rates follow it by its root");
        f("latent-rate", o.latent_rate, "learning rate of the latents");
        f("scale-rate", o.scale_rate, "learning rate of the scales and biases");
        f("norm-rate", o.norm_rate, "learning rate of the norms while a block is tuned (0: fixed)");
        f("relative-rates", o.relative_rates,
          "1: learning rates are shares of the tensor's mean magnitude; 0: absolute");
        f("final-fraction", o.final_fraction,
          "end of the cosine of a block's learning rates, as a fraction of the peak");
        f("held-back", o.held_back,
          "share of the windows that judge each phase and are not learned from, with those that make no whole batch: a "
          "phase ends in its best state on them");
        f("estimator", o.estimator, "derivative that replaces that of sign(): identity, clipped or smooth");
        f("importance", o.importance, "channel weights of a block's loss: output (gradient moments) or ones");
        f("distill-epochs", o.distill_epochs, "passes in the distillation of the whole model (0: none)");
        f("distill-text", o.distill_text,
          "text to distill on, other windows of it in each pass: a file, or self, which the original writes from the "
          "first words of the calibration's windows (default: --text, the same windows in each pass)");
        f("distill-windows", o.distill_windows,
          "windows in a pass of distillation: those after the calibration's in the text, or, where too few follow, its "
          "last ones (0: the calibration's windows)");
        f("distill-window-tokens", o.distill_window_tokens, "tokens per window of distillation (0: window-tokens)");
        f("distill-scale-rate", o.distill_scale_rate, "learning rate of the scales in distillation");
        f("distill-latent-rate", o.distill_latent_rate, "learning rate of the latents in distillation (0: fixed)");
        f("distill-latent-margin", o.distill_latent_margin,
          "how far latents are moved away from flipping before the first step: a share of their mean magnitude; with "
          "rabit, a share of the way to the middle of the region where no sign flips");
        f("distill-norm-rate", o.distill_norm_rate, "learning rate of the norms in distillation (0: fixed)");
        f("distill-warmup", o.distill_warmup, "steps of linear warm-up in distillation");
        f("distill-batch", o.distill_batch, "windows per step of distillation; rates follow it by its root");
        f("distill-label-share", o.distill_label_share,
          "share of the loss that is the likelihood of the text's own next token, the rest being the KL from the "
          "original's distribution");
        f("distill-hidden-weight", o.distill_hidden_weight,
          "weight of the hidden states' squared error, added to the loss (0: none)");
        f("matrix-optimizer", o.matrix_optimizer,
          "optimizer of the latents in distillation: adamw or muon (vectors: always AdamW)");
        f("products", o.products, "matrix products while compressing: f32 or bf16 (accumulated in f32)");
    }

    /// NanoQuant in every detail: order, rates, rank rule, 400 iterations (docs/method.md, section 11).
    static compress_options paper() {
        compress_options o;
        o.recipe = "paper";
        o.clipping = "online";
        o.granularity = 32;
        o.minimum_rank = 32;
        o.ranks = "even";
        o.solver = "paper";
        o.iterations = 400;
        o.refine = false;
        o.order = "layer";
        o.weight_epochs = 8;
        o.held_back = 0;
        o.latent_rate = 1e-5;
        o.scale_rate = 1e-5;
        o.relative_rates = false;
        o.distill_scale_rate = 1e-5;
        o.distill_latent_margin = 0;
        o.products = "f32";
        return o;
    }

    /// This project's own defaults; docs/numerics.md says what differs from the paper, and why.
    static compress_options tuned() { return {}; }

    /// Residual binarization, two paths.
    static compress_options rabit() {
        compress_options o;
        o.method = "rabit";
        o.bits = 2;
        o.latent_rate = 0.01;
        o.scale_rate = 0.01;
        o.epochs = 4;
        o.distill_latent_rate = 0.006;
        o.distill_scale_rate = 0.006;
        o.distill_latent_margin = 0.1;
        o.distill_warmup = 10;
        return o;
    }

    /// The presets, by the time that they have: perplexity of SmolLM2-135M at 1.0 bit (28.8 as it was) on WikiText-2,
    /// and time on two cores (bench/RESULTS.md).
    struct preset_entry {
        const char *name, *measured;
        compress_options (*low_rank)();
        compress_options (*paths)();  ///< with method = rabit
    };
    static std::span<const preset_entry> presets() {
        static constexpr preset_entry all[] = {
            {"quick", "perplexity 103 in 5 minutes with AVX-512", quick, quick_paths},
            {"hour", "48 in 58 minutes with AVX-512, 38 with two paths (--method rabit)", hour, hour_paths},
            {"long", "44 in 51 minutes on a faster processor with AVX-512", longest, longest_paths}};
        return all;
    }
    /// The preset of a method by its name, or nothing.
    static std::optional<compress_options> preset(std::string_view name, bool rabit) {
        for (const auto& entry : presets())
            if (name == entry.name) return rabit ? entry.paths() : entry.low_rank();
        return {};
    }

    /// The best tuned run that takes five minutes on two cores for a model of 135M weights.
    static compress_options quick() {
        auto o = on_more_text(tuned());
        o.scale_bits = 8;
        o.windows = 96;
        o.window_tokens = 128;  // in shorter windows seeds differ less (bench/RESULTS.md)
        o.calibration_windows = 16;
        o.epochs = 2;
        o.distill_epochs = 1;
        o.distill_windows = 40;
        o.distill_latent_rate = 0.003;
        o.distill_warmup = 10;
        return o;
    }

    /// The same for an hour.
    static compress_options hour() {
        auto o = quick();
        o.windows = 256;
        o.window_tokens = 256;
        o.calibration_windows = 64;
        o.iterations = 100;
        o.scale_rate = 0.004;
        o.ranks = "model";
        o.distill_epochs = 3;
        o.distill_windows = 432;
        o.distill_warmup = 20;
        return o;
    }

    /// The same, with twice as many passes of distillation.
    static compress_options longest() { return with_twice_the_passes(hour()); }

    // The presets of two binary paths
    static compress_options quick_paths() {
        auto o = on_more_text(rabit());
        o.windows = 16;
        o.distill_epochs = 1;
        o.distill_windows = 40;
        o.distill_latent_margin = 0.3;
        o.distill_warmup = 10;
        return o;
    }
    static compress_options hour_paths() {
        auto o = on_more_text(rabit());
        o.windows = 16;
        o.distill_epochs = 2;
        o.distill_windows = 440;
        o.distill_warmup = 20;
        return o;
    }
    static compress_options longest_paths() { return with_twice_the_passes(hour_paths()); }

    /// What all presets have: longer windows to distill on than to tune on, and hard labels.
    static compress_options on_more_text(compress_options o) {
        o.window_tokens = 256;
        o.distill_window_tokens = 512;
        o.distill_label_share = 0.3;
        return o;
    }
    static compress_options with_twice_the_passes(compress_options o) {
        o.distill_epochs *= 2;
        return o;
    }
};

}  // namespace llama
