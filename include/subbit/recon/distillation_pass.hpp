// One window forward and backward through a student whose activations may not all fit into memory.
#pragma once

#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/train/losses.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace subbit {

/// The settings of a distillation: those of its phase, whose batch_windows are processed one after the other, and more.
struct distillation_recipe {
    phase_options phase{.scales = learning_rate::share_of_magnitude(0.008),
                        .biases = learning_rate::share_of_magnitude(0.008)};
    /// Before the first step, latents are moved away from where their signs flip: those of a low-rank layer away from
    /// zero, by this share of their mean magnitude (docs/method.md, eq. 45); a coupled weight by this share of the way
    /// to the effective weight (eq. 50). Tuning leaves many latents very close to a flip, and Adam's first steps would
    /// flip them all at once.
    double latent_margin = 0.12;
    /// Share of the loss that is the negative log-likelihood of the text's own next tokens, the hard labels; the rest
    /// is the KL from the teacher's distribution (docs/method.md, eq. 43).
    double label_share = 0;
    /// Weight of the relative squared error of every block's hidden states (docs/method.md, eq. 44), which is added to
    /// the loss on the logits.
    double hidden_weight = 0;
    /// Activations of the last blocks are kept for the backward pass up to this many bytes; those of the other blocks
    /// are recomputed from the block's inputs.
    std::size_t tape_bytes = std::size_t{2} << 30;
    std::size_t checkpoint_steps = 64;  ///< steps between two calls of distill_options::checkpoint (0: none)
};

/// One window forward and backward through a model, keeping the activations of as many blocks as fit.
template <class Model>
class distillation_pass {
  public:
    using scalar = typename Model::scalar;

    distillation_pass(Model& student, const distillation_recipe& recipe)
        : student_(student),
          recipe_(recipe),
          tapes_(static_cast<std::size_t>(student.block_total())),
          states_(static_cast<std::size_t>(student.block_total() + 1)) {}

    /// Adds the loss of one window to total[0], and writes the gradients that `train` selects to the parameters. The
    /// tokens' ids and the total are in the backend's memory. The work is the same for every window of the same length.
    template <class B, class Teacher>
    void run(const B& b, const trainable& train, std::span<const std::int32_t> tokens, const Teacher& teacher,
             std::span<double> total) {
        const index blocks = student_.block_total(), T = std::ssize(tokens), d = student_.hidden_size();
        for (owner* m : {&states_[0], &gradients_[0], &gradients_[1]})
            reshape(b, *m, T, d);
        student_.embed(b, tokens, view(states_[0]));
        // The activations of the first blocks are needed last, so those are recomputed.
        index first_kept = 0;
        for (index l = 0; l < blocks; ++l) {
            auto& tape = l >= first_kept ? tapes_[static_cast<std::size_t>(l)] : spare_;
            forward(b, l, T, tape);
            if (l > 0) continue;
            const auto per_block = std::max<std::size_t>(tape.bytes(), 1);
            first_kept = std::max<index>(0, blocks - static_cast<index>(recipe_.tape_bytes / per_block));
        }
        owner *gradient = &gradients_[0], *d_input = &gradients_[1];
        student_.distillation_loss(b, teacher.states_after(blocks - 1), const_view(states_.back()), labels_of(tokens),
                                   view(*gradient), total);
        for (index l = blocks - 1; l >= 0; --l) {
            if (recipe_.hidden_weight > 0)
                relative_squared_error(b, const_view(state_after(l)),
                                       matrix_view<const scalar>(teacher.states_after(l)), recipe_.hidden_weight,
                                       view(*gradient), total);
            auto& tape = l >= first_kept ? tapes_[static_cast<std::size_t>(l)] : spare_;
            if (l < first_kept) forward(b, l, T, tape);
            student_.block_at(l).backward(b, train, tape, T, const_view(*gradient), view(*d_input));
            std::swap(gradient, d_input);
        }
    }

    /// Adds the loss of one window, without that of the hidden states, to total[0].
    template <class B, class Teacher>
    void measure(const B& b, std::span<const std::int32_t> tokens, const Teacher& teacher, std::span<double> total) {
        const index blocks = student_.block_total(), T = std::ssize(tokens), d = student_.hidden_size();
        for (owner* m : {&states_[0], &gradients_[0]})
            reshape(b, *m, T, d);
        student_.embed(b, tokens, view(states_[0]));
        for (index l = 0; l < blocks; ++l)
            forward(b, l, T, spare_);
        student_.distillation_loss(b, teacher.states_after(blocks - 1), const_view(states_.back()), labels_of(tokens),
                                   view(gradients_[0]), total);
    }

  private:
    using tape_type = typename Model::block_type::tape;
    using owner = matrix_in<scalar, typename Model::block_type::memory>;

    hard_labels labels_of(std::span<const std::int32_t> tokens) const {
        return {tokens.subspan(1), recipe_.label_share};
    }
    owner& state_after(index l) { return states_[static_cast<std::size_t>(l + 1)]; }

    template <class B>
    void forward(const B& b, index l, index window, tape_type& tape) {
        const auto& in = states_[static_cast<std::size_t>(l)];
        reshape(b, state_after(l), view(in).rows, view(in).cols);
        student_.block_at(l).forward(b, const_view(in), window, view(state_after(l)), tape);
    }

    Model& student_;
    const distillation_recipe& recipe_;
    std::vector<tape_type> tapes_;
    tape_type spare_;
    std::vector<owner> states_;  // before the first block, and after each
    owner gradients_[2];         // with respect to a state, and to the one before it
};

}  // namespace subbit
