// Model reconstruction (nanoquant.md section 6): the compressed model learns the original's distribution of the next
// token. Scales move; norms and latents on request.
#pragma once

#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/tuning.hpp>

#include <span>
#include <string>
#include <vector>

namespace subbit {

/// Where a distillation stands: enough to stop it and go on as if it had not stopped.
template <class S>
struct distillation_state {
    std::size_t steps_done = 0;
    double epoch_loss = 0;      ///< sum over the present epoch's steps
    std::vector<double> curve;  ///< mean loss per token of each finished epoch
    std::vector<double> peak_rates;
    std::vector<typename adamw<S>::moment_pair> moments;
};

/// Settings beyond those of a phase.
struct distillation_options {
    phase_options phase;
    /// Before the first step every latent moves this share of its tensor's mean magnitude away from zero. Tuning of the
    /// blocks leaves many at its very edge, and Adam's first steps would flip all of these at once.
    double latent_margin = 0.12;
    /// Activations of the last blocks are kept for the backward pass up to this many bytes; those of the other blocks
    /// are computed again from the block's inputs.
    std::size_t tape_bytes = std::size_t{512} << 20;
    std::size_t checkpoint_steps = 64;  ///< steps between two calls of `checkpoint` (0: none)
};

/// Adds `share` of the mean magnitude to every entry's own; signs stay, and zeros become positive as sign(0) is.
template <class S>
void widen_margin(std::span<S> latent, double share, double mean_magnitude) {
    const S margin = static_cast<S>(share * mean_magnitude);
    for (S& x : latent)
        x += x >= S(0) ? margin : -margin;
}

/// Trains the student over `windows` (each a span of token ids) against the teacher's last hidden states.
///
/// `teacher(w, out)` fills (T, d) with the teacher's hidden states of window w before the final norm.
/// `checkpoint(state)` is called now and then, between steps; parameters are the caller's to save beside it. Returns
/// the state at the end.
template <host_backend B, class Model, class Teacher, class Checkpoint, class S = typename Model::scalar>
requires distillable_model<Model, B> distillation_state<S> distill(
    const B& b, Model& student, std::span<const std::vector<std::int32_t>> windows, Teacher&& teacher,
    const distillation_options& options, distillation_state<S> state, Checkpoint&& checkpoint, progress& watcher) {
    using tape_type = typename Model::block_type::tape;
    const auto train = options.phase.what();
    const index blocks = student.block_total(), d = student.hidden_size();
    const std::size_t steps = options.phase.epochs * windows.size();
    if (steps == 0 || state.steps_done >= steps) return state;

    std::vector<parameter<S>> parameters;
    for (index l = 0; l < blocks; ++l)
        student.block_at(l).parameters("model.layers." + std::to_string(l) + ".", train, parameters);
    if (state.steps_done == 0)
        for (const auto& p : parameters)
            if (p.kind == parameter_kind::latent) widen_margin(p.value, options.latent_margin, p.mean_magnitude());
    tuner<S> tune(std::move(parameters), options.phase, steps);
    if (state.steps_done > 0) {
        tune.optimizer().restore(state.steps_done, std::move(state.moments));
        tune.set_peaks(state.peak_rates);
    }
    state.peak_rates = tune.peaks();

    std::vector<tape_type> tapes(static_cast<std::size_t>(blocks));
    std::vector<matrix<S>> inputs(static_cast<std::size_t>(blocks));
    tape_type spare;
    matrix<S> X, Y, teacher_hidden, gradient, d_input;
    while (state.steps_done < steps) {
        const std::size_t epoch = state.steps_done / windows.size(), at = state.steps_done % windows.size();
        const auto order = visiting_order(options.phase.seed, epoch, std::ssize(windows));
        const auto& tokens = windows[static_cast<std::size_t>(order[at])];
        const index T = std::ssize(tokens);
        for (matrix<S>* m : {&X, &Y, &teacher_hidden, &gradient, &d_input})
            m->resize(T, d);

        student.embed(b, std::span<const std::int32_t>(tokens), view(X));
        // The first blocks' activations are needed last: they are the ones computed again.
        index first_kept = 0;
        for (index l = 0; l < blocks; ++l) {
            auto& tape = l >= first_kept ? tapes[static_cast<std::size_t>(l)] : spare;
            inputs[static_cast<std::size_t>(l)] = X;
            student.block_at(l).forward(b, const_view(X), T, view(Y), tape);
            X.swap(Y);
            if (l == 0) {
                const auto per_block = std::max<std::size_t>(tape.bytes(), 1);
                first_kept = std::max<index>(0, blocks - static_cast<index>(options.tape_bytes / per_block));
            }
        }
        teacher(order[at], view(teacher_hidden));
        const double loss = student.distillation_loss(b, const_view(teacher_hidden), const_view(X), view(gradient));
        for (index l = blocks - 1; l >= 0; --l) {
            auto* tape = &tapes[static_cast<std::size_t>(l)];
            if (l < first_kept) {
                tape = &spare;
                student.block_at(l).forward(b, const_view(inputs[static_cast<std::size_t>(l)]), T, view(Y), spare);
            }
            student.block_at(l).backward(b, train, *tape, T, const_view(gradient), view(d_input));
            gradient.swap(d_input);
        }
        tune.step(b);
        if (train.latents)
            for (index l = 0; l < blocks; ++l)
                student.block_at(l).after_update(b);

        ++state.steps_done;
        state.epoch_loss += loss;
        if (state.steps_done % windows.size() == 0) {
            state.curve.push_back(state.epoch_loss / static_cast<double>(windows.size()));
            state.epoch_loss = 0;
        }
        if (options.checkpoint_steps > 0 && state.steps_done % options.checkpoint_steps == 0 &&
            state.steps_done < steps) {
            state.moments = tune.optimizer().moments();
            checkpoint(state);
            state.moments.clear();
        }
        report_step(watcher, "distill", state.steps_done, steps, loss);
    }
    return state;
}

}  // namespace subbit
