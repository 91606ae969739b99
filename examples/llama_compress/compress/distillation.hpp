// The last step of a run: the compressed model learns the original's distribution of the next token.
#pragma once

#include "compress/probe.hpp"
#include "compress/recipe.hpp"
#include "compress/run_folder.hpp"
#include "compress/states.hpp"
#include "compress/student.hpp"
#include "model/model_directory.hpp"

#include <subbit/backend/reference.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// A backend of the host's memory, for the few steps that are too small or too rare for another.
template <class B>
decltype(auto) host_of(const B& b) {
    if constexpr (subbit::host_backend<B>)
        return (b);
    else
        return subbit::reference<float>();
}

/// The distillation of one run, from its start or from the run folder's checkpoint.
template <class B>
class model_distillation {
  public:
    using memory = memory_of<B>;
    using block_type = block<float, memory>;
    using windows_view = std::span<const std::vector<std::int32_t>>;

    /// What the run has.
    struct setting {
        const compress_options& options;
        const model_directory& model;
        block_context<float, memory>& context;
        subbit::unit_range range;  ///< the compressed blocks
        const run_folder& folder;
        subbit::progress& watcher;
        const subbit::communicator& ranks;
        std::function<void()> saved;  ///< called after each checkpoint
    };
    /// What it leaves, beside the student.
    struct result {
        std::vector<double> curve, held_back;
        nlohmann::json probes = nlohmann::json::array();
        subbit::phase_seconds phases;  ///< of the steps that were timed
    };

    /// `probed`: the window on which the paths of residual layers are measured.
    model_distillation(const B& b, const outer_layers<float, memory>& outer, windows_view windows, windows_view probed,
                       const setting& s)
        : b_(b), outer_(outer), windows_(windows), probed_(probed), s_(s) {}

    /// Distills all blocks of the model, compressed and others, whose final bits and scales are in `blocks` when this
    /// returns. `teacher_states`: the original's last hidden states.
    result run(std::vector<block_type>& blocks, hidden_states<B> teacher_states,
               const std::function<void()>& teacher_ready) {
        teacher_model<B> teacher(b_, outer_, windows_, std::move(teacher_states));
        if (s_.options.distill_hidden_weight > 0) {
            std::vector<block_type> originals;
            for (index l = 0; l < s_.model.config().num_hidden_layers; ++l)
                originals.push_back(load_original(l));
            teacher.hold(std::move(originals));
        }
        if (probes_paths())
            for (const auto& blk : blocks)
                first_signs_.push_back(signs_of(b_, blk));
        teacher_ready();
        student_model<B> student{s_.model.config(), outer_, std::move(blocks)};
        const auto& o = s_.options;
        const auto parts = static_cast<std::size_t>(o.distills_on_other_text() ? o.distill_epochs : 1);
        const auto state = distill_from_checkpoint(
            student, subbit::distillation_data{windows_, teacher, parts,
                                               static_cast<std::size_t>(o.windows_held_back_in_distillation())});
        blocks = std::move(student.blocks);
        harden(blocks);
        return {state.curve, state.held_back, std::move(probes_), state.phases};
    }

  private:
    /// The steps from the start, or from the last checkpoint. Where numbers stop being finite it goes back there, and
    /// on with a tenth of the rates.
    template <class Data>
    subbit::distillation_state<float> distill_from_checkpoint(student_model<B>& student, const Data& data) {
        double saved_share = 1;  // of the rates at the last checkpoint
        for (int restarts = 0;; ++restarts) {
            const double share = subbit::slow_down::share(restarts);
            subbit::distillation_state<float> state;
            if (s_.folder.has_distillation()) {
                state = s_.folder.load_distillation(b_, student.blocks, probes_);
                for (double& rate : state.peak_rates)
                    rate *= share / saved_share;
            }
            for (auto& blk : student.blocks)
                blk.after_update(b_);
            const auto probe = [&](std::size_t steps) { probe_after(steps, student.blocks); };
            if (state.steps_done == 0) probe(0);
            auto recipe = distillation_on<B>(s_.options);
            recipe.phase = recipe.phase.with_rates_times(share);
            const auto save = [&](const auto& now) {
                s_.folder.save_distillation(b_, now, student.blocks, probes_);
                saved_share = share;
                s_.saved();
            };
            try {
                return subbit::distill(b_, student, data,
                                       {.recipe = recipe,
                                        .state = std::move(state),
                                        .checkpoint = save,
                                        .best = best_of(student),
                                        .watcher = s_.watcher,
                                        .after_step = probe,
                                        .ranks = s_.ranks});
            } catch (const subbit::divergence_error& e) {
                if (restarts == subbit::slow_down::times)
                    throw subbit::divergence_error(std::string(e.what()) + ", even at " +
                                                   subbit::slow_down::words(restarts) + " of the rates");
                s_.watcher.note(std::string(e.what()) + "; it goes on from its last good state at " +
                                subbit::slow_down::words(restarts + 1) + " of the rates");
                if (!s_.folder.has_distillation()) reload(student);
            }
        }
    }

    /// The best state is in a file of the run's folder; that of the start is in the files of the blocks.
    subbit::best_student best_of(student_model<B>& student) {
        return {[this, &student](std::size_t epoch) {
                    if (epoch > 0) s_.folder.save_best(b_, student.blocks);
                },
                [this, &student](std::size_t epoch) {
                    if (epoch > 0)
                        s_.folder.load_best(b_, student.blocks);
                    else
                        reload_blocks(student);
                }};
    }

    /// Makes the student what it was before its distillation.
    void reload(student_model<B>& student) {
        probes_ = nlohmann::json::array();
        reload_blocks(student);
    }
    void reload_blocks(student_model<B>& student) {
        for (index l = s_.range.first; l < s_.range.last; ++l) {
            auto& blk = student.block_at(l);
            blk.weights() = upload(b_, s_.folder.load_block(l, *blk.schema));
        }
    }

    /// Makes of the trained layers what will be stored.
    void harden(std::vector<block_type>& blocks) const {
        for (index l = s_.range.first; l < s_.range.last; ++l)
            for (const auto& linear : s_.model.config().block(l).linears) {
                auto& layer = blocks[static_cast<std::size_t>(l)].layers[linear.id];
                layer.visit_compressed([](auto& compressed) { compressed.harden(false); });
                subbit::round_scales(b_, layer, "after the distillation, " + block_prefix(l) + linear.name,
                                     stored_scales(s_.options));
            }
    }

    bool probes_paths() const { return is_rabit(s_.options) && s_.options.probe_steps > 0; }

    /// Measures the paths of every layer, if it is time to.
    void probe_after(std::size_t steps, const std::vector<block_type>& student) {
        if (!probes_paths() || steps % static_cast<std::size_t>(s_.options.probe_steps) != 0) return;
        nlohmann::json entries = nlohmann::json::array();
        auto X = embed_windows<B, float>(b_, outer_, probed_);
        for (std::size_t l = 0; l < student.size(); ++l)
            entries.push_back(probe_block(b_, host_of(b_), student[l],
                                          weights_of(b_, load_original(static_cast<index>(l))), first_signs_[l],
                                          s_.options.window_tokens, X));
        probes_.push_back({{"step", steps}, {"blocks", std::move(entries)}});
    }

    block_type load_original(index l) const { return s_.model.template load_block_once<B, float>(b_, l, s_.context); }

    const B& b_;
    const outer_layers<float, memory>& outer_;
    windows_view windows_, probed_;
    const setting s_;
    std::vector<block_signs> first_signs_;
    nlohmann::json probes_ = nlohmann::json::array();
};

}  // namespace llama
