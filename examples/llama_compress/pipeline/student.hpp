// The two models of a distillation: the compressed one, which learns, and the original, which is learned from.
#pragma once

#include "../model/evaluation.hpp"

#include <span>
#include <utility>
#include <vector>

namespace llama {

/// The student and its loss, as distillation sees them.
template <class B>
struct student_model {
    using scalar = float;
    using block_type = block<float, memory_of<B>>;

    const model_config& config;
    const outer_layers<float, memory_of<B>>& outer;
    std::vector<block_type> blocks;

    index block_total() const { return std::ssize(blocks); }
    block_type& block_at(index l) { return blocks[static_cast<std::size_t>(l)]; }
    index hidden_size() const { return config.hidden_size; }
    void embed(const B& b, std::span<const std::int32_t> tokens, matrix_view<float> X) const {
        outer.embed(b, tokens, X);
    }

    double distillation_loss(const B& b, matrix_view<const float> teacher, matrix_view<const float> hidden,
                             matrix_view<float> d_hidden) const {
        const auto norm = subbit::const_span(outer.final_norm);
        const double per_token = 1.0 / static_cast<double>(hidden.rows);
        matrix_in<float, memory_of<B>> t, s, d;
        for (auto* m : {&t, &s, &d})
            subbit::reshape(b, *m, hidden.rows, hidden.cols);
        vector_in<float, memory_of<B>> inverse_rms;
        rms_norm(b, teacher, norm, config.rms_norm_eps, view(t), inverse_rms);
        rms_norm(b, hidden, norm, config.rms_norm_eps, view(s), inverse_rms);
        const double loss =
            subbit::forward_kl(b, const_view(t), const_view(s), const_view(outer.head()), per_token, view(d));
        subbit::fill(b, 0, d_hidden);
        rms_norm_backward(b, hidden, norm, inverse_rms, const_view(d), d_hidden, std::span<float>());
        return loss * per_token;
    }
};

/// The original's hidden states of every window: the last ones held from the start, those of the other blocks computed
/// window by window where they are asked for (the original's blocks are then held).
template <class B>
class teacher_model {
  public:
    using states = matrix_in<float, memory_of<B>>;
    using block_type = block<float, memory_of<B>>;

    /// `last` (windows * length, d): the hidden states after the last block.
    teacher_model(const B& b, const outer_layers<float, memory_of<B>>& outer,
                  std::span<const std::vector<std::int32_t>> windows, states last)
        : b_(b), outer_(outer), windows_(windows), last_(std::move(last)) {}

    /// Holds the original's blocks, so that every block's hidden states can be asked for.
    void hold(std::vector<block_type> blocks) { blocks_ = std::move(blocks); }

    /// out (T, d) = the hidden states of a window after block `number` of `total`.
    void copy_states(index window, index number, index total, matrix_view<float> out) {
        if (number == total - 1)
            return subbit::axpby(b_, 1, const_view(last_).middle_rows(window * out.rows, out.rows), 0, out);
        if (window != present_) run(window, out.rows, out.cols);
        subbit::axpby(b_, 1, states_[static_cast<std::size_t>(number)], 0, out);
    }

  private:
    void run(index window, index length, index width) {
        present_ = window;
        states_.resize(blocks_.size());
        states X;
        subbit::reshape(b_, X, length, width);
        outer_.embed(b_, windows_[static_cast<std::size_t>(window)], view(X));
        matrix_view<const float> in = const_view(X);
        for (std::size_t l = 0; l < blocks_.size(); ++l) {
            subbit::reshape(b_, states_[l], length, width);
            blocks_[l].forward(b_, in, length, view(states_[l]), tape_);
            in = const_view(states_[l]);
        }
    }

    const B& b_;
    const outer_layers<float, memory_of<B>>& outer_;
    std::span<const std::vector<std::int32_t>> windows_;
    states last_;
    std::vector<block_type> blocks_;
    typename block_type::tape tape_;
    std::vector<states> states_;  // of the present window
    index present_ = -1;
};

}  // namespace llama
