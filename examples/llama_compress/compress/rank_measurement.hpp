// What compressing each layer alone costs the model: the losses from which `--ranks model` chooses the ranks.
#pragma once

#include "compress/calibration.hpp"
#include "compress/compressor.hpp"
#include "compress/rank_choice.hpp"
#include "compress/states.hpp"
#include "model/evaluation.hpp"

#include <subbit/train/losses.hpp>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// How often the solver iterates for a measurement, without refits and bit descent: an error that is not yet the least
/// says as well which layers need more.
inline constexpr int rank_iterations = 10;

/// The distance between two tokens at which the loss is measured: the head costs more than the blocks.
inline constexpr index rank_token_stride = 4;

/// The windows of a measurement: tokens of the first windows.
inline window_list rank_windows(std::span<const std::vector<std::int32_t>> windows, const compress_options& o) {
    const auto length = static_cast<std::size_t>(std::min(o.window_tokens, o.rank_tokens));
    const auto count = static_cast<std::size_t>(o.rank_tokens) / length;
    window_list first;
    for (const auto& window : windows.first(std::min(count, windows.size())))
        first.emplace_back(window.begin(), window.begin() + static_cast<std::ptrdiff_t>(length));
    return first;
}

/// One pass of the original's blocks. Beside the original's hidden states go those of variants, each with one layer
/// compressed: a block's variants begin at it, and pass through all blocks that follow.
template <class B>
class rank_measurement {
  public:
    struct settings {
        const compress_options& options;
        const std::vector<block_moments<float>>& moments;  ///< of every block, shrunk
        subbit::unit_range range;                          ///< the blocks to compress
        state_limits limits;
        subbit::progress& watcher;
        const subbit::communicator& ranks;  ///< they share the variants out
    };

    rank_measurement(const B& b, const model_directory& model, const outer_layers<float, memory_of<B>>& outer,
                     std::span<const std::vector<std::int32_t>> windows, const settings& s)
        : b_(b),
          model_(model),
          outer_(outer),
          settings_(s),
          options_(s.options),
          length_(std::ssize(windows[0])),
          tokens_(std::ssize(windows) * length_),
          context_(b, model.config(), length_),
          original_(embedded_states<B, float>(b, outer, windows, s.limits)),
          variants_(b, s.range.count() * static_cast<index>(layer_count) * tokens_, model.config().hidden_size,
                    s.limits) {
        options_.iterations = rank_iterations;
        options_.refine = false;
    }

    rank_costs run() {
        const index blocks = model_.config().num_hidden_layers;
        rank_costs costs{choose_ranks(model_.config().block(0), options_), {}};
        typename block_type::tape tape;
        for (index l = 0; l < blocks; ++l) {
            model_.prefetch(l + 1);
            auto blk = model_.template load_block_once<B, float>(b_, l, context_);
            if (made_ > 0)
                run_block(b_, blk, length_, variants_.rows().middle_rows(0, made_ * tokens_), tape, settings_.ranks,
                          variants_.releaser());
            if (settings_.range.contains(l)) add_variants(l, blk, costs.ranks, tape);
            run_block(b_, blk, length_, original_.rows(), tape, settings_.ranks);
            report_step(settings_.watcher, "measure ranks", static_cast<std::size_t>(l + 1),
                        static_cast<std::size_t>(blocks), -1);
        }
        const auto losses = losses_of_variants();
        for (auto of_block = losses.begin(); of_block != losses.end(); of_block += layer_count)
            std::copy_n(of_block, layer_count, costs.losses.emplace_back().begin());
        return costs;
    }

  private:
    using block_type = block<float, memory_of<B>>;

    /// The variants of block l begin: the original's states through the block with one of its layers compressed.
    void add_variants(index l, block_type& blk, const std::vector<index>& ranks, typename block_type::tape& tape) {
        for (std::size_t k = 0; k < layer_count; ++k) {
            const auto number = static_cast<index>(k);
            const auto weight = subbit::on_host(b_, blk.layer(number).dense().weight);
            auto compressed =
                compress_layer(b_, view(weight), options_,
                               layer_task<float>{ranks[k], settings_.moments[static_cast<std::size_t>(l)][k],
                                                 options_.seed, block_prefix(l) + blk.layer_name(number)});
            compressed.layer.visit_compressed(
                [&](auto& layer) { layer.layer.bias = subbit::on_host(b_, blk.layer(number).dense().bias); });
            auto dense = std::exchange(blk.layer(number), subbit::upload(b_, std::move(compressed.layer)));
            const auto states = variants_.rows().middle_rows(made_++ * tokens_, tokens_);
            subbit::axpby(b_, 1, std::as_const(original_).rows(), 0, states);
            run_block(b_, blk, length_, states, tape, settings_.ranks);
            blk.layer(number) = std::move(dense);
        }
    }

    /// Of every variant, the mean over the tokens that are looked at.
    std::vector<double> losses_of_variants() {
        const auto teacher = normed(std::as_const(original_).rows());
        std::vector<double> losses(static_cast<std::size_t>(made_));
        const auto mine = subbit::even_share(made_, settings_.ranks.size(), settings_.ranks.rank());
        for (index i = mine.first; i < mine.last; ++i) {
            double& loss = losses[static_cast<std::size_t>(i)];
            const auto student = normed(std::as_const(variants_).rows().middle_rows(i * tokens_, tokens_));
            loss = subbit::forward_kl(b_, const_view(teacher), const_view(student), const_view(outer_.head()), 0.0,
                                      matrix_view<float>()) /
                   static_cast<double>(view(teacher).rows);
            if (!std::isfinite(loss))
                throw subbit::value_error("measure ranks: the model's loss with one layer compressed is not finite");
        }
        subbit::sum_all(settings_.ranks, losses);  // each is zero on all ranks but one
        return losses;
    }

    /// The final norm of the rows that are looked at.
    matrix_in<float, memory_of<B>> normed(matrix_view<const float> X) const {
        const index rows = std::max<index>(1, X.rows / rank_token_stride), step = X.rows / rows;
        auto some = subbit::allocate<float>(b_, rows, X.cols), result = subbit::allocate<float>(b_, rows, X.cols);
        subbit::axpby(b_, 1, matrix_view<const float>(&X(step - 1, 0), rows, X.cols, step * X.row_stride, X.col_stride),
                      0, some);
        vector_in<float, memory_of<B>> inverse_rms = subbit::allocate<float>(b_, rows);
        rms_norm(b_, const_view(some), subbit::const_span(outer_.final_norm), model_.config().norm, view(result),
                 inverse_rms);
        return result;
    }

    const B& b_;
    const model_directory& model_;
    const outer_layers<float, memory_of<B>>& outer_;
    const settings settings_;
    compress_options options_;
    index length_, tokens_;  // of a window, of all windows
    block_context<float, memory_of<B>> context_;
    hidden_states<B> original_;  // (tokens, d)
    hidden_states<B> variants_;  // (variants * tokens, d)
    index made_ = 0;             // variants so far
};

}  // namespace llama
