// The two models of a distillation: the compressed one, which learns, and the original, which is learned from.
#pragma once

#include "../model/evaluation.hpp"

#include <subbit/backend/cpu.hpp>

#include <span>
#include <utility>
#include <vector>

namespace llama {

/// The student and its loss, as distillation sees them.
struct student_model {
    using scalar = float;
    using block_type = block<float>;

    const model_config& config;
    const outer_layers<float>& outer;
    std::vector<block<float>> blocks;

    index block_total() const { return std::ssize(blocks); }
    block<float>& block_at(index l) { return blocks[static_cast<std::size_t>(l)]; }
    index hidden_size() const { return config.hidden_size; }
    void embed(const subbit::cpu&, std::span<const std::int32_t> tokens, matrix_view<float> X) const {
        outer.embed(tokens, X);
    }

    double distillation_loss(const subbit::cpu& b, matrix_view<const float> teacher, matrix_view<const float> hidden,
                             matrix_view<float> d_hidden) const {
        const auto norm = subbit::span_of(outer.final_norm);
        const double per_token = 1.0 / static_cast<double>(hidden.rows);
        matrix<float> t(hidden.rows, hidden.cols), s(hidden.rows, hidden.cols), d(hidden.rows, hidden.cols);
        std::vector<float> inverse_rms;
        rms_norm(b, teacher, norm, config.rms_norm_eps, subbit::view(t), inverse_rms);
        rms_norm(b, hidden, norm, config.rms_norm_eps, subbit::view(s), inverse_rms);
        const double loss =
            subbit::forward_kl(b, const_view(t), const_view(s), const_view(outer.head()), per_token, subbit::view(d));
        subbit::as_eigen(d_hidden).setZero();
        rms_norm_backward(b, hidden, norm, inverse_rms, const_view(d), d_hidden, std::span<float>());
        return loss * per_token;
    }
};

/// The original's hidden states of every window: the last ones held from the start, those of the other blocks computed
/// window by window where they are asked for (the original's blocks are then held).
class teacher_model {
  public:
    /// `last` (windows * length, d): the hidden states after the last block.
    teacher_model(const subbit::cpu& b, const outer_layers<float>& outer,
                  std::span<const std::vector<std::int32_t>> windows, matrix<float> last)
        : b_(b), outer_(outer), windows_(windows), last_(std::move(last)) {}

    /// Holds the original's blocks, so that every block's hidden states can be asked for.
    void hold(std::vector<block<float>> blocks) { blocks_ = std::move(blocks); }

    /// out (T, d) = the hidden states of a window after block `number` of `total`.
    void states(index window, index number, index total, matrix_view<float> out) {
        if (number == total - 1) {
            subbit::as_eigen(out) = last_.middleRows(window * out.rows, out.rows);
            return;
        }
        if (window != present_) run(window, out.rows, out.cols);
        subbit::as_eigen(out) = states_[static_cast<std::size_t>(number)];
    }

  private:
    void run(index window, index length, index width) {
        present_ = window;
        states_.resize(blocks_.size());
        matrix<float> X(length, width), Y(length, width);
        outer_.embed(windows_[static_cast<std::size_t>(window)], subbit::view(X));
        for (std::size_t l = 0; l < blocks_.size(); ++l) {
            blocks_[l].forward(b_, const_view(X), length, subbit::view(Y), tape_);
            states_[l] = Y;
            X.swap(Y);
        }
    }

    const subbit::cpu& b_;
    const outer_layers<float>& outer_;
    std::span<const std::vector<std::int32_t>> windows_;
    matrix<float> last_;
    std::vector<block<float>> blocks_;
    block_tape<float> tape_;
    std::vector<matrix<float>> states_;  // of the present window
    index present_ = -1;
};

}  // namespace llama
