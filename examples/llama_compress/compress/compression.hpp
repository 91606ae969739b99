// The main job on any backend: its steps, and what they share.
#pragma once

#include "compress/blocks_ahead.hpp"
#include "compress/calibration.hpp"
#include "compress/compress.hpp"
#include "compress/compressor.hpp"
#include "compress/distillation.hpp"
#include "compress/output_folder.hpp"
#include "compress/rank_measurement.hpp"
#include "compress/recipe.hpp"
#include "compress/report.hpp"
#include "compress/run_folder.hpp"
#include "compress/self_text.hpp"
#include "compress/text_windows.hpp"

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/recon/block_reconstruction.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace llama {

using subbit::const_view;
using subbit::upload;

/// One run on a backend, in its memory: what the steps share.
template <class B>
class compression {
  public:
    /// `evaluator` measures the finished model.
    compression(const compress_job& job, subbit::progress& watcher, const B& backend, const B& evaluator,
                const subbit::communicator& ranks)
        : job_(job),
          options_(job.options),
          watcher_(watcher),
          ranks_(ranks),
          model_(job.model),
          backend_(backend),
          evaluator_(evaluator),
          windows_(take_windows(job, model_)),
          context_(backend_, model_.config(), std::max(job.options.window_tokens, job.options.distillation_length())),
          range_(blocks_to_compress(model_, job.options)),
          layer_ranks_(static_cast<std::size_t>(range_.count()), choose_ranks(model_.config().block(0), job.options)),
          limits_{job.out / "run", job.state_bytes / 2},
          folder_(job.out, fingerprint_of(job), ranks),
          earlier_(folder_.load_seconds()) {
        if (!ranks.leads()) limits_.folder = std::filesystem::temp_directory_path();
    }

    nlohmann::json run() {
        folder_.begin();
        try {
            return all_steps();
        } catch (const std::exception& e) {
            if (dynamic_cast<const subbit::cancelled_error*>(&e)) save_seconds();
            folder_.leave();
            throw;
        }
    }

  private:
    using memory = memory_of<B>;
    using states = hidden_states<B>;
    using block_type = block<float, memory>;
    using clock = std::chrono::steady_clock;

    nlohmann::json all_steps() {
        clock_.skip(backend_);
        calibrate_model();
        choose_layer_ranks();
        sample_text();
        compress_blocks();
        distill_model();
        const auto add_block = [&](subbit::safetensors_writer& file, index l) {
            if (student_.empty()) return folder_.add_block(file, l);
            const auto at = static_cast<std::size_t>(l);
            add_block_tensors(file, l, subbit::download(backend_, std::move(student_[at].weights())),
                              stored_scales(options_));
        };
        const std::size_t bytes = ranks_.leads() ? write_model(job_.out, model_, range_, add_block) : 0;
        ranks_.barrier();
        clock_.end(backend_, "write");
        auto report = summarize();
        report["totals"]["model_bytes"] = bytes;
        if (job_.test_text) report["test"] = test_model();
        if (ranks_.leads()) write_report(job_.out, report);
        if (!job_.keep_run) folder_.remove();
        return report;
    }

    void calibrate_model() {
        if (folder_.has_moments()) {
            moments_ = folder_.load_moments(model_.config());
        } else {
            std::span<const std::vector<std::int32_t>> measured = windows_.calibration;
            if (options_.calibration_windows > 0)
                measured =
                    measured.first(std::min(measured.size(), static_cast<std::size_t>(options_.calibration_windows)));
            moments_ =
                calibrate<float>(backend_, model_, load_outer(), measured,
                                 {.moments = moments_of(options_),
                                  .watcher = watcher_,
                                  .ranks = ranks_,
                                  .limits = {limits_.folder, limits_.bytes / static_cast<std::size_t>(blocks())}});
            folder_.save_moments(model_.config(), moments_);
            clock_.end(backend_, "calibration");
            save_seconds();
        }
        for (auto& of_block : moments_)
            for (auto& m : of_block)
                m = {subbit::shrink(m.input, options_.shrinkage), subbit::shrink(m.output, options_.shrinkage)};
    }

    void choose_layer_ranks() {
        if (!measures_ranks(options_)) return;
        if (!folder_.has_rank_costs()) {
            clock_.skip(backend_);
            const auto outer = load_outer();
            rank_measurement<B> measurement(backend_, model_, outer, rank_windows(windows_.calibration, options_),
                                            {options_, moments_, range_, limits_, watcher_, ranks_});
            folder_.save_rank_costs(measurement.run());
            clock_.end(backend_, "ranks");
            save_seconds();
        }
        rank_costs_ = folder_.load_rank_costs();
        layer_ranks_ = ranks_from_costs(model_.config().block(0), options_, *rank_costs_);
    }

    /// The original writes the windows to distill on, where it is to.
    void sample_text() {
        if (!options_.samples_text()) return;
        if (!folder_.has_sample()) {
            clock_.skip(backend_);
            if (ranks_.leads()) folder_.save_sample(sample_windows(job_, model_, windows_.calibration, watcher_));
            ranks_.barrier();
            clock_.end(backend_, "sample");
            save_seconds();
        }
        windows_.distillation = folder_.load_sample();
    }

    void compress_blocks() {
        clock_.skip(backend_);
        const bool distills = options_.distill_epochs > 0, distills_here = distills && windows_.distillation.empty();
        // Blocks are finished in order: where the last one is, nothing more is tuned on what the others produce.
        const bool pending = !folder_.has_block(range_.last - 1);
        states compressed;
        if (pending || distills_here) {
            const auto outer = load_outer();
            teacher_ = embedded_states(backend_, outer, windows_.calibration, limits_);
            if (pending) compressed = embedded_states(backend_, outer, windows_.calibration, limits_);
        }
        typename block_type::tape tape;
        const auto pass = [&](const block_type& blk, states& X) {
            pass_on(backend_, blk, options_.window_tokens, X, tape, ranks_);
            clock_.end(backend_, "blocks: pass on");
        };
        blocks_ahead<B> ahead(backend_, model_,
                              {options_, range_, watcher_, ranks_, [this](index l) { return compressor_of(l); }});
        for (index l = 0; l < blocks(); ++l) {
            if (l >= range_.last && !distills) break;
            const bool unfinished = range_.contains(l) && !folder_.has_block(l);
            if (range_.contains(l))
                watcher_.step("block", static_cast<std::size_t>(l), static_cast<std::size_t>(blocks()), -1);
            if (unfinished) {
                ahead.factorize(l);
                clock_.end(backend_, "blocks: factorize");
            }
            auto blk = load_original(l);
            clock_.end(backend_, "blocks: read");
            if (pending || distills_here) pass(blk, teacher_);
            if (range_.contains(l)) {
                if (unfinished) compress_block(l, blk, compressed, ahead.take(l));
                clock_.skip(backend_);  // the block's report has its phases
                blk.weights() = upload(backend_, folder_.load_block(l, *blk.schema));
                reports_.push_back(folder_.load_report(l));
                clock_.end(backend_, "blocks: read");
            }
            if (pending && l + 1 < range_.last) pass(blk, compressed);
            if (distills) student_.push_back(std::move(blk));
        }
    }

    block_compressor<B> compressor_of(index l) const {
        return {model_.config().block(l),
                options_,
                {.moments = moments_[static_cast<std::size_t>(l)],
                 .ranks = layer_ranks_[static_cast<std::size_t>(l - range_.first)],
                 .prefix = block_prefix(l),
                 .seed = options_.seed * 1000003U + static_cast<std::uint64_t>(l * index{layer_count})}};
    }

    /// `factorized`: the block's layers, where they were factorized ahead.
    void compress_block(index l, block_type& blk, const states& inputs,
                        std::optional<subbit::factorized_block<float>> factorized) {
        auto compressor = compressor_of(l);
        compressor.keep_originals(blk);
        const auto& moments = moments_[static_cast<std::size_t>(l)];
        const auto importance = output_importance(backend_, blk, moments[linear_id::down].output, model_.config().norm);
        const subbit::block_data<float> data{
            inputs.rows(),
            std::as_const(teacher_).rows(),
            weighted_loss(options_) ? subbit::const_span(importance) : std::span<const float>(),
            options_.window_tokens,
            options_.windows_held_back(),
            [&](index first, index count) { inputs.release(first, count), teacher_.release(first, count); }};
        model_.prefetch(l + 1);
        nlohmann::json probes = nlohmann::json::array();
        auto report = to_json(reconstruct(blk, data,
                                          {.compressor = compressor,
                                           .recipe = block_recipe_of(options_, *blk.schema, l),
                                           .watcher = watcher_,
                                           .after_epoch = probe_of(blk, inputs, probes),
                                           .factorized = factorized ? &*factorized : nullptr,
                                           .ranks = ranks_},
                                          l));
        if (!probes.empty()) report["path_diagnostics"] = std::move(probes);
        clock_.skip(backend_);
        folder_.save_block(l, subbit::on_host(backend_, std::as_const(blk).weights()), stored_scales(options_),
                           options_.distill_latent_rate > 0, report);
        clock_.end(backend_, "blocks: save");
        save_seconds();
    }

    /// The block's reconstruction; errors of numbers name the block.
    subbit::block_report reconstruct(block_type& blk, const subbit::block_data<float>& data,
                                     const subbit::reconstruct_options<B, float>& options, index l) {
        const auto name = [&](const std::exception& e) { return "block " + std::to_string(l) + ": " + e.what(); };
        try {
            return subbit::reconstruct_block(backend_, blk, data, options);
        } catch (const subbit::divergence_error& e) {
            throw subbit::divergence_error(name(e));
        } catch (const subbit::value_error& e) {
            throw subbit::value_error(name(e));
        }
    }

    /// What looks at the paths of a block, dense as yet, on its first window: before it is tuned, and after every
    /// epoch. Nothing where it will have none.
    std::function<void(std::size_t)> probe_of(const block_type& blk, const states& inputs, nlohmann::json& probes) {
        if (!is_rabit(options_)) return {};
        return [this, &blk, &inputs, &probes, originals = weights_of(backend_, blk),
                first_signs = block_signs()](std::size_t epochs) mutable {
            if (epochs == 0) first_signs = signs_of(backend_, blk);
            while (probes.size() > epochs)  // of a phase that was undone
                probes.erase(probes.size() - 1);
            auto X = subbit::copy_of(backend_, inputs.rows().middle_rows(0, options_.window_tokens));
            probes.push_back(
                probe_block(backend_, host_of(backend_), blk, originals, first_signs, options_.window_tokens, X));
        };
    }

    /// The original's last hidden states, before the final norm, of every window to distill on.
    states teacher_states() {
        if (windows_.distillation.empty()) return std::move(teacher_);
        teacher_ = states();
        auto X = embedded_states(backend_, *outer_, windows_.distillation, limits_);
        typename block_type::tape tape;
        for (index l = 0; l < blocks(); ++l) {
            model_.prefetch(l + 1);
            pass_on(backend_, load_original(l), options_.distillation_length(), X, tape, ranks_);
            report_step(watcher_, "teacher", static_cast<std::size_t>(l + 1), static_cast<std::size_t>(blocks()), -1);
        }
        return X;
    }

    void distill_model() {
        if (options_.distill_epochs == 0) return;
        clock_.skip(backend_);
        const auto& windows = windows_.distillation.empty() ? windows_.calibration : windows_.distillation;
        outer_ = load_outer();
        const auto ready = [&] { clock_.end(backend_, "distillation: teacher"); };
        const auto saved = [&] {
            clock_.end(backend_, "distillation: steps");
            save_seconds();
        };
        const std::span<const std::vector<std::int32_t>> first(windows_.calibration.data(), 1);
        model_distillation<B> work(backend_, *outer_, windows, first,
                                   {options_, model_, context_, range_, folder_, watcher_, ranks_, saved});
        distilled_ = work.run(student_, teacher_states(), ready);
        clock_.end(backend_, "distillation: steps");
    }

    nlohmann::json test_model() const {
        // Ranks that do not see the result leave its test to the one that has written it.
        const bool together = all_see(ranks_, job_.out / "model.safetensors");
        if (!together && !ranks_.leads()) return {};
        const model_directory compressed(job_.out);
        const auto windows = read_windows(compressed.load_tokenizer(), *job_.test_text, job_.test_context,
                                          job_.test_windows, job_.reading);
        const auto result = perplexity<float>(evaluator_, compressed, windows, watcher_, {},
                                              together ? ranks_ : subbit::this_process_alone());
        return {{"perplexity", result.perplexity}, {"mean_loss", result.mean_loss},
                {"tokens", result.tokens},         {"windows", result.windows},
                {"context", job_.test_context},    {"text", file_name_of(*job_.test_text)}};
    }

    /// What this run has taken so far, in all its processes.
    run_folder::run_seconds seconds_so_far() const {
        auto all = earlier_;
        all.total += std::chrono::duration<double>(clock::now() - start_).count();
        for (const auto& [phase, seconds] : clock_.seconds())
            all.phases[phase] += seconds;
        return all;
    }
    void save_seconds() const { folder_.save_seconds(seconds_so_far()); }

    nlohmann::json summarize() {
        auto report = make_report(job_, model_, reports_, distilled_.curve, seconds_of_phases());
        if (!distilled_.held_back.empty()) report["distillation_held_back"] = distilled_.held_back;
        report["fingerprint"] = digest_of(folder_.fingerprint());
        report["bos"] = windows_.bos;
        if (rank_costs_) report["rank_costs"] = to_json(*rank_costs_);
        if (!distilled_.probes.empty()) report["distillation_path_diagnostics"] = distilled_.probes;
        return report;
    }

    /// The seconds of this run in all its processes, and of the phases of its parts: "blocks: tune" is the part
    /// "blocks" of the report, the phase "tune" of all blocks together.
    nlohmann::json seconds_of_phases() const {
        auto [total, all] = seconds_so_far();
        for (const auto& report : reports_) {
            const auto phases = report.value("phases", nlohmann::json::object());
            for (const auto& [phase, seconds] : phases.items())
                all["blocks: " + phase] += seconds.template get<double>();
        }
        // Only some steps are looked at: their shares are those of all.
        double looked_at = 0;
        for (const auto& [phase, seconds] : distilled_.phases)
            looked_at += seconds;
        const auto steps = all.find("distillation: steps");
        if (looked_at > 0 && steps != all.end()) {
            for (const auto& [phase, seconds] : distilled_.phases)
                all["distillation: " + phase] = steps->second * seconds / looked_at;
            all.erase(steps);
        }
        return report_seconds(total, all);
    }

    block_type load_original(index l) { return model_.template load_block_once<B, float>(backend_, l, context_); }
    outer_layers<float, memory> load_outer() const {
        auto outer = upload(backend_, model_.template load_outer_layers<float>());
        model_.tensors().release();
        return outer;
    }

    index blocks() const { return model_.config().num_hidden_layers; }

    const compress_job& job_;
    const compress_options& options_;
    subbit::progress& watcher_;
    const subbit::communicator& ranks_;
    model_directory model_;
    B backend_, evaluator_;
    text_windows windows_;
    block_context<float, memory> context_;
    std::optional<outer_layers<float, memory>> outer_;  // while it distills
    subbit::unit_range range_;                          // the blocks to compress
    std::vector<std::vector<index>> layer_ranks_;       // of these
    state_limits limits_;
    run_folder folder_;
    run_folder::run_seconds earlier_;  // of the processes before this one
    clock::time_point start_ = clock::now();

    std::vector<block_moments<float>> moments_;
    std::optional<rank_costs> rank_costs_;
    states teacher_;
    std::vector<block_type> student_;
    std::vector<nlohmann::json> reports_;
    typename model_distillation<B>::result distilled_;
    subbit::phase_clock clock_;
};

/// Runs the job, or continues it, on a backend, with the other ranks; `evaluator` measures the result. Returns the
/// report, complete on the rank that leads.
template <class B>
nlohmann::json run_compression(const compress_job& job, subbit::progress& watcher, const B& backend, const B& evaluator,
                               const subbit::communicator& ranks) {
    std::optional<folder_lock> lock;
    if (ranks.leads()) {
        require_own_output(job);
        lock.emplace(job.out);
    }
    return compression<B>(job, watcher, backend, evaluator, ranks).run();
}

}  // namespace llama
