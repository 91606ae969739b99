// Model reconstruction (docs/method.md, section 13): the compressed model learns the original's distribution of the
// next token. Scales are trained; on request also norms and latents.
#pragma once

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/recon/best_state.hpp>
#include <subbit/recon/distillation_pass.hpp>
#include <subbit/recon/window_losses.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

/// The state of a distillation, from which it resumes as if it had not been interrupted.
template <class S>
struct distillation_state {
    std::size_t steps_done = 0;
    double epoch_loss = 0;          ///< sum over the present epoch's windows
    std::vector<double> curve;      ///< mean loss per token of each finished epoch
    std::vector<double> held_back;  ///< the same on the held-back windows, at the start and after each epoch
    std::vector<double> peak_rates;
    std::vector<moment_pair<S>> moments;  ///< on the host
    phase_seconds phases;                 ///< of the steps that were timed: "learn", "update"
};

/// The data of a distillation: windows of token ids, all of the same length, and the teacher, which has the original's
/// hidden states of each.
template <class Teacher>
struct distillation_data {
    std::span<const std::vector<std::int32_t>> windows;
    Teacher& teacher;
    /// The windows are so many parts of equal size, of which each epoch sees the next: with as many parts as epochs,
    /// every window is seen once.
    std::size_t parts = 1;
    /// Of the windows, the last: they belong to no part, and judge the student at the start and after each epoch.
    std::size_t held_back = 0;

    std::size_t windows_per_epoch() const { return (windows.size() - held_back) / parts; }

    /// shape_error if windows differ in length, value_error if too many are held back or the others are no whole parts.
    void check() const {
        for (const auto& window : windows)
            require_size("distill: a window", std::ssize(window), std::ssize(windows[0]));
        require_held_back("distill", static_cast<index>(held_back), std::ssize(windows));
        if (parts == 0 || (windows.size() - held_back) % parts != 0)
            throw value_error("distill: " + std::to_string(windows.size() - held_back) +
                              " windows, expected a multiple of the " + std::to_string(parts) + " parts");
    }
};
template <class Teacher>
distillation_data(std::span<const std::vector<std::int32_t>>, Teacher&, std::size_t = 1, std::size_t = 0)
    -> distillation_data<Teacher>;

/// Where the best state of a student is kept, in place of memory: both are given the number of epochs after which it
/// was reached, 0 for the start.
struct best_student {
    std::function<void(std::size_t)> save, load;
};

/// The options of distill, the state from which it resumes, and its callbacks.
template <class S>
struct distill_options {
    distillation_recipe recipe = {};
    distillation_state<S> state = {};  ///< of an interrupted run
    /// Called regularly between steps, with the state from which a later run resumes; the caller also saves the
    /// parameters.
    std::function<void(const distillation_state<S>&)> checkpoint = {};
    /// Asked for only if windows are held back; empty: a copy in the backend's memory, which goes back no further than
    /// to where this run resumed.
    best_student best = {};
    progress& watcher = unwatched();
    /// Called with the number of finished steps. With several ranks, signs and scales are then those of the step;
    /// latents are so only at the end of an epoch and before a checkpoint.
    std::function<void(std::size_t)> after_step = {};
    /// Those that share out the windows of a batch; a batch of one is done by every rank. The state with which
    /// `checkpoint` is called is complete on the rank that leads.
    const communicator& ranks = this_process_alone();
};

/// The steps of one distillation; distill() drives it.
template <class B, class Model, class Teacher>
class distillation {
  public:
    using S = typename Model::scalar;

    distillation(const B& b, Model& student, const distillation_data<Teacher>& data, distill_options<S>& options)
        : b_(b),
          student_(student),
          data_(data),
          options_(options),
          train_(options.recipe.phase.what()),
          windows_(data.windows_per_epoch()),
          batch_(std::clamp<std::size_t>(options.recipe.phase.batch_windows, 1, std::max<std::size_t>(1, windows_))),
          steps_per_epoch_((windows_ + batch_ - 1) / batch_),
          steps_(options.recipe.phase.epochs * steps_per_epoch_),
          ranks_(batch_ > 1 ? options.ranks : this_process_alone()),
          state_(options.state),
          pass_(student, options.recipe),
          losses_(b, static_cast<index>(windows_)),
          judging_losses_(b, static_cast<index>(data.held_back)),
          resumed_loss_(options.state.epoch_loss) {}

    void run() {
        if (state_.steps_done >= steps_) return;
        start();
        while (state_.steps_done < steps_)
            step();
        end_with_best();
        state_.phases = phases_.seconds();
    }

  private:
    /// The windows of a step: [first, last) in its epoch's order.
    struct batch {
        std::size_t epoch, first, last;
    };

    void start() {
        if (state_.steps_done == 0 && train_.latents)
            visit_layers([&](auto& layer) { layer.widen_margin(b_, options_.recipe.latent_margin); });
        std::vector<parameter<S>> parameters;
        for (index l = 0; l < student_.block_total(); ++l)
            student_.block_at(l).parameters(b_, "model.layers." + std::to_string(l) + ".", train_, parameters);
        tune_.emplace(b_, std::move(parameters), options_.recipe.phase, steps_, ranks_);
        if (state_.steps_done > 0) tune_->restore(b_, state_.steps_done, std::move(state_.moments), state_.peak_rates);
        state_.moments.clear();
        state_.peak_rates = tune_->peaks();
        tokens_ = allocate<std::int32_t>(b_, std::ssize(data_.windows[0]));
        best_ = options_.best.save || data_.held_back == 0 ? options_.best : copy_in_memory();
        if (state_.steps_done == 0) judge();
    }

    /// Measures the student on the held-back windows, which the ranks share out, and keeps it if it is the best so far.
    void judge() {
        if (data_.held_back == 0) return;
        const auto all = static_cast<index>(data_.held_back), first = std::ssize(data_.windows) - all;
        const unit_range mine = even_share(all, options_.ranks.size(), options_.ranks.rank());
        for (index k = mine.first; k < mine.last; ++k) {
            take(first + k);
            pass_.measure(b_, const_span(tokens_), std::as_const(data_.teacher), judging_losses_.current());
            judging_losses_.keep(b_, k);
        }
        state_.held_back.push_back(judging_losses_.total(b_, options_.ranks) / static_cast<double>(all));
        judging_losses_.clear(b_);
        if (ends_best(state_.held_back)) best_.save(state_.held_back.size() - 1);
    }

    best_student copy_in_memory() {
        const auto copy = std::make_shared<saved_values<S, memory_of<B>>>(b_, tune_->parameters());
        return {[this, copy](std::size_t) { copy->save(b_, tune_->parameters()); },
                [this, copy](std::size_t) { copy->restore(b_, tune_->parameters()); }};
    }

    /// Makes the student what it was when the held-back windows' loss was lowest.
    void end_with_best() {
        if (state_.held_back.empty() || ends_best(state_.held_back)) return;
        best_.load(best_of(state_.held_back));
        for (index l = 0; train_.latents && l < student_.block_total(); ++l)
            student_.block_at(l).after_update(b_);
        options_.watcher.note("distill: " + best_remark(state_.held_back));
    }

    /// Makes a window the present one.
    void take(index window) {
        const auto& tokens = data_.windows[static_cast<std::size_t>(window)];
        upload(b_, std::span<const std::int32_t>(tokens), span_of(tokens_));
        data_.teacher.begin(window);
    }

    void step() {
        const std::size_t first = state_.steps_done % steps_per_epoch_ * batch_;
        const batch now{state_.steps_done / steps_per_epoch_, first, std::min(windows_, first + batch_)};
        const bool looked_at = (state_.steps_done + 1) % steps_unseen<B> == 0;
        if (looked_at) phases_.skip(b_);
        learn(now);
        if (looked_at) phases_.end(b_, "learn");
        move(batch_ > 1 ? static_cast<index>(now.last - now.first) : 0);
        if (looked_at) phases_.end(b_, "update");
        ++state_.steps_done;
        account(now, looked_at);
    }

    /// The gradients of this rank's windows of a batch, summed where there are several.
    void learn(const batch& now) {
        const auto order = visiting_order(options_.recipe.phase.seed, now.epoch, static_cast<index>(windows_));
        const auto part = static_cast<index>(now.epoch % data_.parts * windows_);
        const auto terms = static_cast<index>(now.last - now.first);
        const unit_range mine = batch_ > 1 ? terms_of(terms, ranks_.size(), ranks_.rank()) : unit_range{0, 1};
        for (index k = mine.first; k < mine.last; ++k) {
            const std::size_t visit = now.first + static_cast<std::size_t>(k);
            const index w = part + order[visit];
            take(w);
            const index term = k - mine.first;
            learning_[{term, mine.count()}](b_, [&] {
                pass_.run(b_, train_, const_span(tokens_), std::as_const(data_.teacher), losses_.current());
                if (batch_ > 1) tune_->gather(b_, term, mine.count());
            });
            losses_.keep(b_, static_cast<index>(visit));
        }
        unseen_ += mine.count();
    }

    /// Moves the parameters by their gradients, or by the mean of the `gathered` ones.
    void move(index gathered) {
        tune_->next_step(b_, gathered);
        tune_->finish_step(b_, moving_, [&] {
            for (index l = 0; train_.latents && l < student_.block_total(); ++l)
                student_.block_at(l).after_update(b_);
        });
    }

    /// Reads the losses when they are needed, and reports them.
    void account(const batch& done, bool looked_at) {
        const auto& recipe = options_.recipe;
        const bool ends = done.last == windows_;
        const bool saves = recipe.checkpoint_steps > 0 && state_.steps_done % recipe.checkpoint_steps == 0;
        if (looked_at && unseen_ > 0) {
            const double before = std::exchange(seen_, losses_.seen(b_));
            shown_ = (seen_ - before) / static_cast<double>(std::exchange(unseen_, 0));
        }
        // Several ranks find out together that numbers are not finite.
        if (looked_at && ranks_.is_alone()) require_finite(seen_);
        if (ends || saves) {
            tune_->share_latents(b_);
            state_.epoch_loss = losses_.total(b_, ranks_, resumed_loss_);
            require_finite(state_.epoch_loss);
            subbit::require_finite(b_, tune_->parameters());
        }
        if (ends) {
            state_.curve.push_back(state_.epoch_loss / static_cast<double>(windows_));
            state_.epoch_loss = resumed_loss_ = seen_ = 0;
            losses_.clear(b_);
            judge();
        }
        if (options_.after_step) options_.after_step(state_.steps_done);
        if (saves && options_.checkpoint && state_.steps_done < steps_) {
            state_.moments = tune_->moments(b_);
            options_.checkpoint(state_);
            state_.moments.clear();
        }
        report_step(options_.watcher, "distill", state_.steps_done, steps_, shown_);
    }

    void require_finite(double loss) const {
        if (!is_finite(loss))
            throw divergence_error("distill: the loss of step " + std::to_string(state_.steps_done) + " is not finite");
    }

    template <class F>
    void visit_layers(const F& f) {
        for (index l = 0; l < student_.block_total(); ++l)
            for (index k = 0; k < student_.block_at(l).layer_total(); ++k)
                student_.block_at(l).layer(k).visit_compressed(f);
    }

    const B& b_;
    Model& student_;
    const distillation_data<Teacher>& data_;
    const distill_options<S>& options_;
    trainable train_;
    std::size_t windows_, batch_, steps_per_epoch_, steps_;  // windows of an epoch, and of a step
    const communicator& ranks_;
    distillation_state<S>& state_;
    distillation_pass<Model> pass_;
    window_losses<memory_of<B>> losses_;          // of the present epoch, or what this process has done of it
    window_losses<memory_of<B>> judging_losses_;  // of the held-back windows
    double resumed_loss_;                         // what an earlier process had done of the present epoch
    std::optional<tuner<S, memory_of<B>>> tune_;
    best_student best_;
    vector_in<std::int32_t, memory_of<B>> tokens_;                  // of the present window
    std::map<std::pair<index, index>, repeated_work<B>> learning_;  // by a term of a batch and the number of terms
    repeated_work<B> moving_;
    index unseen_ = 0;  // number of this rank's windows whose loss the host has not read yet
    double seen_ = 0, shown_ = 0;
    phase_clock phases_;
};

/// Trains the student over windows against the teacher's hidden states; returns the state at the end. Held-back windows
/// judge it: it ends as it was when their loss was lowest.
///
/// Hidden states of blocks other than the last are used only if they have a weight. Throws shape_error if windows
/// differ in length, value_error if they are no whole parts, cancelled_error if the watcher asks to stop, and
/// divergence_error naming the step or the parameter where numbers stop being finite: no checkpoint has such numbers,
/// and from the last one the distillation can go on with smaller rates.
template <class B, class Model, class Teacher, class S = typename Model::scalar>
requires distillable_model<Model, B> && distilling_teacher<Teacher, S> distillation_state<S> distill(
    const B& b, Model& student, const distillation_data<Teacher>& data,
    std::type_identity_t<distill_options<S>> options) {
    data.check();
    distillation<B, Model, Teacher>(b, student, data, options).run();
    return std::move(options.state);
}

}  // namespace subbit
