// Model reconstruction (nanoquant.md section 6; rabit.md section 5): the compressed model learns the original's
// distribution of the next token. Scales move; norms and latents on request.
#pragma once

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/train/losses.hpp>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// Where a distillation stands: enough to stop it and go on as if it had not stopped.
template <class S>
struct distillation_state {
    std::size_t steps_done = 0;
    double epoch_loss = 0;      ///< sum over the present epoch's windows
    std::vector<double> curve;  ///< mean loss per token of each finished epoch
    std::vector<double> peak_rates;
    std::vector<moment_pair<S>> moments;  ///< on the host
    phase_seconds phases;                 ///< of the steps that were looked at: "learn", "update"
};

/// Settings beyond those of a phase; its batch_windows are gathered one after the other.
struct distillation_options {
    phase_options phase;
    /// Before the first step every layer's latents move this far from where their signs would flip: a low-rank layer's
    /// by this share of their mean magnitude, away from zero; a coupled weight by this share of the way to the value
    /// that it stands for. Tuning of the blocks leaves many at the very edge, and Adam's first steps would flip all of
    /// these at once.
    double latent_margin = 0.12;
    /// Weight of the relative squared error of every block's hidden states beside the loss on the logits.
    double hidden_weight = 0;
    /// Activations of the last blocks are kept for the backward pass up to this many bytes; those of the other blocks
    /// are computed again from the block's inputs.
    std::size_t tape_bytes = std::size_t{512} << 20;
    std::size_t checkpoint_steps = 64;  ///< steps between two calls of `checkpoint` (0: none)
};

/// One window forward and backward through a model, with the activations of as many blocks kept as fit.
template <class Model>
class distillation_pass {
  public:
    using scalar = typename Model::scalar;

    distillation_pass(Model& student, const distillation_options& options)
        : student_(student),
          options_(options),
          tapes_(static_cast<std::size_t>(student.block_total())),
          states_(static_cast<std::size_t>(student.block_total() + 1)) {}

    /// Adds the loss of one window to total[0]; the gradients that `train` asks for are left with the parameters. The
    /// tokens' ids and the total are in the backend's memory. The same work for every window of the same length.
    template <class B, class Teacher>
    void run(const B& b, const trainable& train, std::span<const std::int32_t> tokens, const Teacher& teacher,
             std::span<double> total) {
        const index blocks = student_.block_total(), T = std::ssize(tokens), d = student_.hidden_size();
        for (owner* m : {&states_[0], &gradients_[0], &gradients_[1]})
            reshape(b, *m, T, d);
        student_.embed(b, tokens, view(states_[0]));
        // The first blocks' activations are needed last: they are the ones computed again.
        index first_kept = 0;
        for (index l = 0; l < blocks; ++l) {
            auto& tape = l >= first_kept ? tapes_[static_cast<std::size_t>(l)] : spare_;
            forward(b, l, T, tape);
            if (l > 0) continue;
            const auto per_block = std::max<std::size_t>(tape.bytes(), 1);
            first_kept = std::max<index>(0, blocks - static_cast<index>(options_.tape_bytes / per_block));
        }
        owner *gradient = &gradients_[0], *d_input = &gradients_[1];
        student_.distillation_loss(b, teacher.states_after(blocks - 1), const_view(states_.back()), view(*gradient),
                                   total);
        for (index l = blocks - 1; l >= 0; --l) {
            if (options_.hidden_weight > 0)
                relative_squared_error(b, const_view(state_after(l)),
                                       matrix_view<const scalar>(teacher.states_after(l)), options_.hidden_weight,
                                       view(*gradient), total);
            auto& tape = l >= first_kept ? tapes_[static_cast<std::size_t>(l)] : spare_;
            if (l < first_kept) forward(b, l, T, tape);
            student_.block_at(l).backward(b, train, tape, T, const_view(*gradient), view(*d_input));
            std::swap(gradient, d_input);
        }
    }

  private:
    using tape_type = typename Model::block_type::tape;
    using owner = matrix_in<scalar, typename Model::block_type::memory>;

    owner& state_after(index l) { return states_[static_cast<std::size_t>(l + 1)]; }

    template <class B>
    void forward(const B& b, index l, index window, tape_type& tape) {
        const auto& in = states_[static_cast<std::size_t>(l)];
        reshape(b, state_after(l), view(in).rows, view(in).cols);
        student_.block_at(l).forward(b, const_view(in), window, view(state_after(l)), tape);
    }

    Model& student_;
    const distillation_options& options_;
    std::vector<tape_type> tapes_;
    tape_type spare_;
    std::vector<owner> states_;  // before the first block, and after each
    owner gradients_[2];         // with respect to a state, and to the one before it
};

/// Trains the student over `windows` (each the ids of as many tokens) against the teacher's hidden states.
///
/// The teacher is asked for blocks but the last only where the hidden states have a weight. `checkpoint(state)` is
/// called now and then, between steps; parameters are the caller's to save beside it. `observe(steps)` is called after
/// every step. Returns the state at the end. Throws shape_error where windows differ in length.
template <class B, class Model, class Teacher, class Checkpoint, class Observe = ignore_steps,
          class S = typename Model::scalar>
requires distillable_model<Model, B> && distilling_teacher<Teacher, S> distillation_state<S> distill(
    const B& b, Model& student, std::span<const std::vector<std::int32_t>> windows, Teacher& teacher,
    const distillation_options& options, distillation_state<S> state, Checkpoint&& checkpoint, progress& watcher,
    Observe&& observe = {}) {
    const auto train = options.phase.what();
    const index blocks = student.block_total();
    const std::size_t batch =
        std::clamp<std::size_t>(options.phase.batch_windows, 1, std::max<std::size_t>(1, windows.size()));
    const std::size_t steps_per_epoch = (windows.size() + batch - 1) / batch;
    const std::size_t steps = options.phase.epochs * steps_per_epoch;
    if (steps == 0 || state.steps_done >= steps) return state;
    for (const auto& window : windows)
        require_size("distill: a window", std::ssize(window), std::ssize(windows[0]));

    if (state.steps_done == 0 && train.latents)
        for (index l = 0; l < blocks; ++l)
            for (index k = 0; k < student.block_at(l).layer_total(); ++k)
                student.block_at(l).layer(k).visit_compressed(
                    [&](auto& layer) { layer.widen_margin(b, options.latent_margin); });
    std::vector<parameter<S>> parameters;
    for (index l = 0; l < blocks; ++l)
        student.block_at(l).parameters(b, "model.layers." + std::to_string(l) + ".", train, parameters);
    tuner<S, memory_of<B>> tune(b, std::move(parameters), options.phase, steps);
    if (state.steps_done > 0) tune.restore(b, state.steps_done, std::move(state.moments), state.peak_rates);
    state.moments.clear();
    state.peak_rates = tune.peaks();

    distillation_pass<Model> pass(student, options);
    auto tokens = allocate<std::int32_t>(b, std::ssize(windows[0]));  // of the present window
    auto loss = upload(b, std::span<const double>(&state.epoch_loss, 1));
    const auto learn = [&] {
        pass.run(b, train, const_span(tokens), std::as_const(teacher), span_of(loss));
        if (batch > 1) tune.gather(b);
    };
    const auto move = [&] {
        tune.update(b);
        if (train.latents)
            for (index l = 0; l < blocks; ++l)
                student.block_at(l).after_update(b);
    };
    repeated_work<B> learning, moving;
    std::size_t windows_unseen = 0;  // whose loss the host has not read yet
    double shown = 0;
    phase_clock phases;
    while (state.steps_done < steps) {
        const std::size_t epoch = state.steps_done / steps_per_epoch;
        const std::size_t first = state.steps_done % steps_per_epoch * batch;
        const std::size_t last = std::min(windows.size(), first + batch);
        const auto order = visiting_order(options.phase.seed, epoch, std::ssize(windows));
        const bool looked_at = (state.steps_done + 1) % steps_unseen<B> == 0;
        if (looked_at) phases.skip(b);
        for (std::size_t at = first; at < last; ++at) {
            const index w = order[at];
            upload(b, std::span<const std::int32_t>(windows[static_cast<std::size_t>(w)]), span_of(tokens));
            teacher.begin(w);
            learning(b, learn);
        }
        if (looked_at) phases.end(b, "learn");
        tune.next_step(b, batch > 1 ? last - first : 0);
        if (tune.repeats())
            moving(b, move);
        else
            move();
        if (looked_at) phases.end(b, "update");

        ++state.steps_done;
        windows_unseen += last - first;
        const bool ends = last == windows.size();
        const bool saves = options.checkpoint_steps > 0 && state.steps_done % options.checkpoint_steps == 0;
        if (ends || saves || looked_at) {
            const double before = std::exchange(state.epoch_loss, download(b, loss)(0));
            shown = (state.epoch_loss - before) / static_cast<double>(std::exchange(windows_unseen, 0));
        }
        if (ends) {
            state.curve.push_back(state.epoch_loss / static_cast<double>(windows.size()));
            state.epoch_loss = 0;
            fill(b, 0, as_column(span_of(loss)));
        }
        observe(state.steps_done);
        if (saves && state.steps_done < steps) {
            state.moments = tune.moments(b);
            checkpoint(state);
            state.moments.clear();
        }
        report_step(watcher, "distill", state.steps_done, steps, shown);
    }
    state.phases = phases.seconds();
    return state;
}

}  // namespace subbit
