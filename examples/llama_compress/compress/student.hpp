// The two models of a distillation: the student, which is the compressed model, and the teacher, the original.
#pragma once

#include "compress/states.hpp"
#include "model/evaluation.hpp"

#include <subbit/backend/jobs/repeated.hpp>

#include <span>
#include <utility>
#include <vector>

namespace llama {

/// The student and its loss (recon/block_concept.hpp: distillable_model).
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
        outer.embed_known(b, tokens, X);
    }

    void distillation_loss(const B& b, matrix_view<const float> teacher, matrix_view<const float> hidden,
                           const subbit::hard_labels& labels, matrix_view<float> d_hidden,
                           std::span<double> total) const {
        const auto norm = subbit::const_span(outer.final_norm);
        const double per_token = 1.0 / static_cast<double>(hidden.rows);
        matrix_in<float, memory_of<B>> t, s, d;
        for (auto* m : {&t, &s, &d})
            *m = subbit::allocate<float>(b, hidden.rows, hidden.cols);
        auto inverse_rms = subbit::allocate<float>(b, hidden.rows);
        auto losses = subbit::allocate<double>(b, hidden.rows);
        rms_norm(b, teacher, norm, config.norm, view(t), inverse_rms);
        rms_norm(b, hidden, norm, config.norm, view(s), inverse_rms);
        subbit::forward_kl(b, const_view(t), const_view(s), const_view(outer.head()), per_token, view(d),
                           span_of(losses), labels);
        subbit::add_to_total(b, subbit::const_span(losses), per_token, total);
        subbit::fill(b, 0, d_hidden);
        rms_norm_backward(b, hidden, norm, config.norm, inverse_rms, const_view(d), d_hidden, std::span<float>());
    }
};

/// The original's hidden states. Those after the last block are held for all windows; those after the other blocks, if
/// they are needed, are computed for one window at a time, and then the original's blocks are held too.
template <class B>
class teacher_model {
  public:
    using states = matrix_in<float, memory_of<B>>;
    using block_type = block<float, memory_of<B>>;

    /// `last` (windows * length, d): the hidden states after the last block.
    teacher_model(const B& b, const outer_layers<float, memory_of<B>>& outer,
                  std::span<const std::vector<std::int32_t>> windows, hidden_states<B> last)
        : b_(b), outer_(outer), windows_(windows), last_(std::move(last)) {}

    /// Holds the original's blocks, so that the hidden states after every block are available.
    void hold(std::vector<block_type> blocks) { blocks_ = std::move(blocks); }

    /// Makes the hidden states of a window available.
    void begin(index window) {
        const index length = std::ssize(windows_[static_cast<std::size_t>(window)]), width = last_.rows().cols;
        subbit::reshape(b_, last_of_window_, length, width);
        subbit::axpby(b_, 1, std::as_const(last_).rows().middle_rows(window * length, length), 0, last_of_window_);
        last_.release(window * length, length);
        if (blocks_.empty()) return;
        subbit::reshape(b_, embedded_, length, width);
        outer_.embed(b_, windows_[static_cast<std::size_t>(window)], view(embedded_));
        states_.resize(blocks_.size() - 1);
        running_(b_, [&] {
            matrix_view<const float> in = const_view(embedded_);
            for (std::size_t l = 0; l < states_.size(); ++l) {
                subbit::reshape(b_, states_[l], length, width);
                blocks_[l].forward(b_, in, length, view(states_[l]), tape_);
                in = const_view(states_[l]);
            }
        });
    }

    /// The hidden states (T, d) of the present window after a block; after blocks other than the last only if hold()
    /// was called.
    matrix_view<const float> states_after(index block) const {
        const auto l = static_cast<std::size_t>(block);
        return l < states_.size() ? const_view(states_[l]) : const_view(last_of_window_);
    }

  private:
    const B& b_;
    const outer_layers<float, memory_of<B>>& outer_;
    std::span<const std::vector<std::int32_t>> windows_;
    hidden_states<B> last_;
    std::vector<block_type> blocks_;
    typename block_type::tape tape_;
    subbit::repeated_work<B> running_;
    states embedded_, last_of_window_;  // of the present window
    std::vector<states> states_;        // likewise, after each block but the last
};

}  // namespace llama
