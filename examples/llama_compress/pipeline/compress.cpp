#include "compress.hpp"

#include "calibration.hpp"
#include "probe.hpp"
#include "recipe.hpp"
#include "report.hpp"
#include "run_folder.hpp"
#include "student.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/factor/rank_budget.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <chrono>

namespace llama {

namespace fs = std::filesystem;
using subbit::const_view;
using subbit::cpu;
using subbit::span_of;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The windows that calibrate and tune the blocks, and those that distill.
struct text_windows {
    window_list calibration, distillation;
    index tokens = 0;
};

text_windows take_windows(const compress_job& job, const model_directory& model) {
    const auto& o = job.options;
    const auto tokens = model.load_tokenizer().encode_file(job.text);
    text_windows result;
    result.tokens = std::ssize(tokens);
    require_tokens(job, result.tokens);
    result.calibration = split_windows(tokens, o.window_tokens, o.windows);
    if (o.distills_on_more())
        result.distillation =
            split_windows(std::span(tokens).subspan(static_cast<std::size_t>(o.windows * o.window_tokens)),
                          o.distillation_length(), o.distill_windows);
    return result;
}

/// ||D (W - What) E||^2 / ||D W E||^2, D and E the roots of the moments; empty moments are ones.
double weighted_error(matrix_view<const float> W, const matrix<float>& What, const vector<float>& input,
                      const vector<float>& output) {
    double error = 0, norm = 0;
    for (index i = 0; i < W.rows; ++i)
        for (index j = 0; j < W.cols; ++j) {
            const double weight = (output.size() != 0 ? static_cast<double>(output(i)) : 1.0) *
                                  (input.size() != 0 ? static_cast<double>(input(j)) : 1.0);
            const double w = static_cast<double>(W(i, j)), e = w - static_cast<double>(What(i, j));
            error += weight * e * e;
            norm += weight * w * w;
        }
    return norm > 0 ? error / norm : 0;
}

/// One run: what the steps share.
class compression {
  public:
    compression(const compress_job& job, subbit::progress& watcher)
        : job_(job),
          options_(job.options),
          watcher_(watcher),
          model_(job.model),
          backend_({.threads = job.threads,
                    .products = bf16_products(job.options) ? subbit::precision::bf16 : subbit::precision::f32}),
          ranks_(choose_ranks(model_.config(), job.options)),
          windows_(take_windows(job, model_)),
          context_(model_.config(), std::max(job.options.window_tokens, job.options.distillation_length())),
          outer_(model_.load_outer_layers<float>()),
          folder_(job.out, fingerprint(job)) {
        if (model_.is_packed()) throw subbit::value_error(job.model.string() + " is compressed already");
    }

    nlohmann::json run() {
        const auto start = std::chrono::steady_clock::now();
        calibrate_model();
        compress_blocks();
        distill_model();
        const std::size_t bytes = write_model(job_.out, model_, student_);
        auto report = summarize(seconds_since(start));
        report["totals"]["model_bytes"] = bytes;
        if (job_.test_text) report["test"] = test_model();
        write_report(job_.out, report);
        if (!job_.keep_run) folder_.remove();
        return report;
    }

  private:
    void calibrate_model() {
        if (folder_.has_moments()) {
            moments_ = folder_.load_moments(blocks());
        } else {
            const auto start = std::chrono::steady_clock::now();
            std::span<const std::vector<std::int32_t>> measured = windows_.calibration;
            if (options_.calibration_windows > 0)
                measured =
                    measured.first(std::min(measured.size(), static_cast<std::size_t>(options_.calibration_windows)));
            moments_ = calibrate<float>(backend_, model_, measured, moments_of(options_), watcher_);
            folder_.save_moments(moments_);
            seconds_["calibration"] = seconds_since(start);
        }
        for (auto& of_block : moments_)
            for (auto& m : of_block)
                m = {subbit::shrink(m.input, options_.shrinkage), subbit::shrink(m.output, options_.shrinkage)};
    }

    void compress_blocks() {
        const auto start = std::chrono::steady_clock::now();
        teacher_ = embed_windows<float>(outer_, windows_.calibration);
        matrix<float> compressed = teacher_;
        block_tape<float> tape;
        // Blocks are finished in order: where the last one is, nothing more is tuned on what the others produce.
        const bool pending = !folder_.has_block(blocks() - 1);
        const bool distills_here = options_.distill_epochs > 0 && windows_.distillation.empty();
        for (index l = 0; l < blocks(); ++l) {
            auto blk = model_.load_block<float>(l, context_);
            const bool done = folder_.has_block(l);
            watcher_.step("block", static_cast<std::size_t>(l), static_cast<std::size_t>(blocks()), -1);
            if (pending || distills_here) run_block(backend_, blk, options_.window_tokens, teacher_, tape);
            if (!done) compress_block(l, blk, compressed);
            folder_.load_block(l, blk);
            if (pending) run_block(backend_, blk, options_.window_tokens, compressed, tape);
            reports_.push_back(folder_.load_report(l));
            student_.push_back(std::move(blk));
        }
        seconds_["blocks"] = seconds_since(start);
    }

    void compress_block(index l, block<float>& blk, const matrix<float>& inputs) {
        const auto& moments = moments_[static_cast<std::size_t>(l)];
        const std::vector<matrix<float>> originals = weights_of(blk);
        const vector<float> importance = moments[down_proj].output / moments[down_proj].output.mean();
        const subbit::block_data<float> data{const_view(inputs), const_view(teacher_),
                                             weighted_loss(options_) ? span_of(importance) : std::span<const float>(),
                                             options_.window_tokens};
        const auto name = [&](index k) { return block_prefix(l) + layer_names[static_cast<std::size_t>(k)]; };
        nlohmann::json probes = nlohmann::json::array();
        block_signs first_signs;
        auto report = to_json(subbit::reconstruct_block(
            backend_, blk, data, block_recipe_of(options_, l),
            [&](index k, matrix_view<const float> weight) {
                const auto& m = moments[static_cast<std::size_t>(k)];
                const auto seed = options_.seed * 1000003U + static_cast<std::uint64_t>(l * index{layer_count} + k);
                return compress_layer(backend_, weight, ranks_[static_cast<std::size_t>(k)], m.input, m.output,
                                      options_, seed, name(k));
            },
            [&](index k, const linear_layer<float>& layer) {
                const auto& m = moments[static_cast<std::size_t>(k)];
                const double power = metric_power(options_);
                return layer.visit_compressed([&](const auto& compressed) {
                    return weighted_error(const_view(originals[static_cast<std::size_t>(k)]), compressed.layer.dense(),
                                          subbit::tempered(subbit::diagonal<float>(m.input), power),
                                          subbit::tempered(subbit::diagonal<float>(m.output), power));
                });
            },
            [&](index k, linear_layer<float>& layer) {
                layer.visit_compressed([&](auto& compressed) { subbit::round_scales(compressed.layer, name(k)); });
            },
            watcher_,
            [&](std::size_t epochs) {
                if (!is_rabit(options_)) return;
                if (epochs == 0) first_signs = signs_of(blk);
                matrix<float> X = inputs.topRows(options_.window_tokens);
                probes.push_back(probe_block(backend_, blk, originals, first_signs, options_.window_tokens, X));
            }));
        if (!probes.empty()) report["path_diagnostics"] = std::move(probes);
        folder_.save_block(l, blk, options_.distill_latent_rate > 0, report);
    }

    /// The original's last hidden states, before the final norm, of every window to distill on.
    matrix<float> teacher_states() {
        if (windows_.distillation.empty()) return std::move(teacher_);
        teacher_.resize(0, 0);
        matrix<float> X = embed_windows<float>(outer_, windows_.distillation);
        block_tape<float> tape;
        for (index l = 0; l < blocks(); ++l) {
            run_block(backend_, model_.load_block<float>(l, context_), options_.distillation_length(), X, tape);
            report_step(watcher_, "teacher", static_cast<std::size_t>(l + 1), static_cast<std::size_t>(blocks()), -1);
        }
        return X;
    }

    void distill_model() {
        if (options_.distill_epochs == 0) return;
        const auto start = std::chrono::steady_clock::now();
        const auto& windows = windows_.distillation.empty() ? windows_.calibration : windows_.distillation;
        teacher_model teacher(backend_, outer_, windows, teacher_states());
        if (options_.distill_hidden_weight > 0) {
            std::vector<block<float>> originals;
            for (index l = 0; l < blocks(); ++l)
                originals.push_back(model_.load_block<float>(l, context_));
            teacher.hold(std::move(originals));
        }
        std::vector<block_signs> first_signs;
        if (probes_paths())
            for (const auto& blk : student_)
                first_signs.push_back(signs_of(blk));
        student_model student{model_.config(), outer_, std::move(student_)};
        subbit::distillation_state<float> state;
        if (folder_.has_distillation()) state = folder_.load_distillation(student.blocks, distillation_probes_);
        for (auto& blk : student.blocks)
            blk.after_update(backend_);
        const auto probe = [&](std::size_t steps) {
            if (probes_paths() && steps % static_cast<std::size_t>(options_.probe_steps) == 0)
                distillation_probes_.push_back({{"step", steps}, {"blocks", probe_model(student.blocks, first_signs)}});
        };
        if (state.steps_done == 0) probe(0);
        state = subbit::distill(
            backend_, student, std::span<const std::vector<std::int32_t>>(windows),
            [&](index w, index l, matrix_view<float> out) { teacher.states(w, l, blocks(), out); },
            distillation_of(options_), std::move(state),
            [&](const auto& now) { folder_.save_distillation(now, student.blocks, distillation_probes_); }, watcher_,
            probe);
        student_ = std::move(student.blocks);
        for (index l = 0; l < blocks(); ++l)
            for (std::size_t k = 0; k < layer_count; ++k)
                student_[static_cast<std::size_t>(l)].layers[k].visit_compressed([&](auto& compressed) {
                    compressed.harden(false);
                    subbit::round_scales(compressed.layer, block_prefix(l) + layer_names[k]);
                });
        distillation_curve_ = state.curve;
        seconds_["distillation"] = seconds_since(start);
    }

    bool probes_paths() const { return is_rabit(options_) && options_.probe_steps > 0; }

    /// The paths of every layer on the first calibration window.
    nlohmann::json probe_model(const std::vector<block<float>>& student, const std::vector<block_signs>& first_signs) {
        nlohmann::json entries = nlohmann::json::array();
        const auto window = std::span<const std::vector<std::int32_t>>(windows_.calibration).first(1);
        matrix<float> X = embed_windows<float>(outer_, window);
        for (index l = 0; l < blocks(); ++l) {
            const auto at = static_cast<std::size_t>(l);
            entries.push_back(probe_block(backend_, student[at], weights_of(model_.load_block<float>(l, context_)),
                                          first_signs[at], options_.window_tokens, X));
        }
        return entries;
    }

    nlohmann::json test_model() const {
        const model_directory compressed(job_.out);
        const auto windows =
            read_windows(compressed.load_tokenizer(), *job_.test_text, job_.test_context, job_.test_windows);
        const auto result = perplexity<float>(cpu({.threads = job_.threads}), compressed, windows, watcher_);
        return {{"perplexity", result.perplexity}, {"mean_loss", result.mean_loss},
                {"tokens", result.tokens},         {"windows", result.windows},
                {"context", job_.test_context},    {"text", job_.test_text->filename().string()}};
    }

    nlohmann::json summarize(double seconds) {
        seconds_["total"] = seconds;
        auto report = make_report(job_, model_, reports_, distillation_curve_, seconds_);
        if (!distillation_probes_.empty()) report["distillation_path_diagnostics"] = distillation_probes_;
        return report;
    }

    index blocks() const { return model_.config().num_hidden_layers; }

    static nlohmann::json fingerprint(const compress_job& job) {
        nlohmann::json f = {{"recipe", job.options.recipe},
                            {"text", file_hash(job.text)},
                            {"config", file_hash(job.model / "config.json")},
                            {"tokenizer", file_hash(job.model / "tokenizer.json")}};
        compress_options::visit(job.options,
                                [&](const char* name, const auto& value, const char*) { f[name] = value; });
        for (const auto& entry : fs::directory_iterator(job.model))
            if (entry.path().extension() == ".safetensors")
                f[entry.path().filename().string()] = file_hash(entry.path());
        return f;
    }

    const compress_job& job_;
    const compress_options& options_;
    subbit::progress& watcher_;
    model_directory model_;
    cpu backend_;
    std::vector<index> ranks_;
    text_windows windows_;
    block_context<float> context_;
    outer_layers<float> outer_;
    run_folder folder_;

    std::vector<block_moments<float>> moments_;
    matrix<float> teacher_;
    std::vector<block<float>> student_;
    std::vector<nlohmann::json> reports_;
    std::vector<double> distillation_curve_;
    nlohmann::json distillation_probes_ = nlohmann::json::array();
    std::map<std::string, double> seconds_;
};

}  // namespace

std::vector<index> choose_ranks(const model_config& config, const compress_options& options) {
    if (is_rabit(options)) return std::vector<index>(layer_count, 0);
    // Shares relative to an even spending, found on SmolLM2 at 1.0 bit (docs/numerics.md).
    constexpr std::array<double, layer_count> uneven = {0.765, 0.75, 1.25, 1.0, 1.0, 1.0, 1.08};
    const subbit::rank_rule rule{
        .granularity = options.granularity, .scales = options.scales, .minimum = options.minimum_rank};
    const subbit::bits_per_weight target{options.bits};
    std::vector<layer_shape> shapes;
    std::vector<double> profile;
    std::vector<index> ranks;
    const bool is_uneven = uneven_ranks(options);
    for (std::size_t k = 0; k < layer_count; ++k) {
        const auto shape = shape_of(config, k);
        const index rank = subbit::rank_for(target, shape.rows, shape.cols, rule);
        shapes.push_back(shape);
        ranks.push_back(rank);
        profile.push_back(uneven[k] * static_cast<double>(rank));
    }
    return is_uneven ? subbit::distribute_ranks(shapes, profile, target, rule) : ranks;
}

nlohmann::json compress(const compress_job& job, subbit::progress& watcher) {
    std::error_code failure;
    fs::create_directories(job.out, failure);
    if (failure) throw subbit::io_error(job.out.string() + ": cannot be created: " + failure.message());
    const folder_lock lock(job.out);
    return compression(job, watcher).run();
}

}  // namespace llama
