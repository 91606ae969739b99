// A pass of the original model, or two: the clipped second moments of every linear layer's inputs and output gradients.
#pragma once

#include "compress/states.hpp"
#include "model/evaluation.hpp"

#include <subbit/calib/moments.hpp>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace llama {

/// Per linear layer: i (inputs) and o (output gradients), not yet shrunk.
template <class S>
using block_moments = per_linear<subbit::layer_moments<S>>;

/// Bytes of hidden states that a pass may hold: with more blocks it takes fewer windows at a time, so its memory does
/// not grow with the depth of the model.
inline constexpr std::size_t calibration_bytes = std::size_t{192} << 20;

/// How calibrate() works; the moments depend on the first alone.
struct calibration_settings {
    subbit::moment_options moments = {};
    subbit::progress& watcher = subbit::unwatched();
    /// They share the windows out where there are two passes.
    const subbit::communicator& ranks = subbit::this_process_alone();
    std::size_t held_bytes = calibration_bytes;
    state_limits limits = {{}, std::numeric_limits<std::size_t>::max()};  ///< of the states of one window
};

/// The windows go through the model a few at a time: forward, keeping every block's inputs, then backward.
template <class S, class B>
class calibration {
  public:
    calibration(const B& b, const model_directory& model, const outer_layers<S, memory_of<B>>& outer,
                std::span<const std::vector<std::int32_t>> windows, const calibration_settings& settings)
        : b_(b),
          model_(model),
          outer_(outer),
          windows_(windows),
          settings_(settings),
          two_passes_(subbit::needs_two_passes(settings.moments.mode)),
          ranks_(two_passes_ ? settings.ranks : subbit::this_process_alone()),
          length_(std::ssize(windows[0])),
          group_(windows_at_once<B>(length_)),
          context_(b, model.config(), length_) {
        for (index l = 0; l < blocks(); ++l)
            add_sums(l);
        mine_ = windows_of_rank<B>(ranks_, std::ssize(windows), length_);
        const auto per_group = static_cast<std::size_t>((blocks() + 1) * group_ * length_ * width()) * sizeof(S);
        chunk_ = std::max<index>(1, static_cast<index>(settings.held_bytes / per_group)) * group_;
        const index chunks = (mine_.count() + chunk_ - 1) / chunk_ * (two_passes_ ? 2 : 1);
        steps_ = static_cast<std::size_t>(2 * blocks() * chunks);
    }

    std::vector<block_moments<S>> run() {
        for (int pass = two_passes_ ? 0 : 1; pass < 2; ++pass) {
            adds_ = pass == 1;
            for (index first = mine_.first; first < mine_.last; first += chunk_)
                run_windows(first, std::min(chunk_, mine_.last - first));
            for (auto& of_block : sums_)
                for (auto& [input, output] : of_block)
                    for (auto* sum : {&input, &output})
                        adds_ ? sum->merge_added(ranks_) : sum->merge_observed(ranks_);
        }
        std::vector<block_moments<S>> result(sums_.size());
        for (std::size_t l = 0; l < sums_.size(); ++l)
            for (std::size_t k = 0; k < layer_count; ++k)
                result[l][k] = {sums_[l][k].input.finish(), sums_[l][k].output.finish()};
        return result;
    }

  private:
    using memory = memory_of<B>;
    using states = hidden_states<B, S>;

    struct layer_sums {
        subbit::clipped_moments<S> input, output;
    };

    index blocks() const { return model_.config().num_hidden_layers; }
    index width() const { return model_.config().hidden_size; }

    void add_sums(index l) {
        auto& of_block = sums_.emplace_back();
        for (const auto& linear : model_.config().block(l).linears) {
            auto in = settings_.moments, out = settings_.moments;
            in.name = block_prefix(l) + linear.name + ": inputs";
            out.name = block_prefix(l) + linear.name + ": output gradients";
            out.scale = 1e6;
            of_block.push_back({subbit::clipped_moments<S>(linear.shape.cols, in),
                                subbit::clipped_moments<S>(linear.shape.rows, out)});
        }
    }

    /// Windows first, ..., first + count - 1 through the model and back.
    void run_windows(index first, index count) {
        std::vector<states> inputs;
        inputs.push_back(embedded_states<B, S>(
            b_, outer_, windows_.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
            settings_.limits));
        for (index l = 0; l < blocks(); ++l) {
            states next(b_, count * length_, width(), settings_.limits);
            subbit::axpby(b_, 1, std::as_const(inputs.back()).rows(), 0, next.rows());
            pass_on(b_, load_block(l), length_, next, tape_, subbit::this_process_alone());
            inputs.back().release(0, count * length_);
            inputs.push_back(std::move(next));
            report();
        }
        auto gradient = subbit::allocate<S>(b_, count * length_, width());
        head_gradients(first, inputs.back().rows(), view(gradient));
        inputs.pop_back();
        for (index l = blocks() - 1; l >= 0; --l) {
            run_backward(l, std::as_const(inputs.back()).rows(), view(gradient));
            inputs.pop_back();
            report();
        }
    }

    /// The gradients of each window's mean next-token cross entropy with respect to the last block's outputs.
    void head_gradients(index first, matrix_view<const S> X, matrix_view<S> gradient) {
        const auto norm = subbit::const_span(outer_.final_norm);
        auto normed = subbit::allocate<S>(b_, length_, width()), d_normed = subbit::allocate<S>(b_, length_, width());
        vector_in<S, memory> inverse_rms;
        for (index w = 0; w * length_ < X.rows; ++w) {
            const auto x = X.middle_rows(w * length_, length_);
            const auto labels = next_tokens(windows_[static_cast<std::size_t>(first + w)]);
            rms_norm(b_, x, norm, model_.config().norm, view(normed), inverse_rms);
            subbit::cross_entropy(b_, subbit::const_view(normed), subbit::const_view(outer_.head()),
                                  std::span<const std::int32_t>(labels), 1.0 / static_cast<double>(length_ - 1),
                                  view(d_normed));
            rms_norm_backward(b_, x, norm, model_.config().norm, inverse_rms, subbit::const_view(d_normed),
                              gradient.middle_rows(w * length_, length_), std::span<S>());
        }
    }

    /// Several windows share a product; the moments still count each window as a batch. `gradient`, with respect to the
    /// block's outputs, becomes that with respect to its inputs X.
    void run_backward(index l, matrix_view<const S> X, matrix_view<S> gradient) {
        auto blk = load_block(l);
        const index together = std::min(X.rows, group_ * length_);
        auto Y = subbit::allocate<S>(b_, together, width()), d_input = subbit::allocate<S>(b_, together, width());
        for (index t = 0; t < X.rows; t += together) {
            const index taken = std::min(together, X.rows - t);
            const auto dy = gradient.middle_rows(t, taken);
            const auto dx = view(d_input).middle_rows(0, taken);
            blk.forward(b_, X.middle_rows(t, taken), length_, view(Y).middle_rows(0, taken), tape_);
            blk.backward(b_, subbit::trainable{}, tape_, length_, dy, dx,
                         [&](index k, matrix_view<const S> layer_input, matrix_view<const S> d_output) {
                             auto& [input, output] = sums_[static_cast<std::size_t>(l)][static_cast<std::size_t>(k)];
                             add(input, layer_input);
                             add(output, d_output);
                         });
            subbit::axpby(b_, 1, dx, 0, dy);
        }
    }

    void add(subbit::clipped_moments<S>& sum, matrix_view<const S> tokens) {
        adds_ ? sum.add_batch(b_, tokens, length_) : sum.observe(b_, tokens, length_);
    }

    block<S, memory> load_block(index l) {
        auto blk = model_.load_block<B, S>(b_, l, context_);
        model_.tensors().release();
        return blk;
    }
    void report() { report_step(settings_.watcher, "calibrate", ++done_, steps_, -1); }

    const B& b_;
    const model_directory& model_;
    const outer_layers<S, memory>& outer_;
    std::span<const std::vector<std::int32_t>> windows_;
    const calibration_settings& settings_;
    bool two_passes_, adds_ = false;
    const subbit::communicator& ranks_;
    index length_, group_, chunk_ = 1;  // tokens of a window, windows of a product, windows at a time
    subbit::unit_range mine_;           // windows of this rank
    block_context<S, memory> context_;
    block_tape<S, memory> tape_;
    std::vector<std::vector<layer_sums>> sums_;  // by block and layer
    std::size_t steps_ = 0, done_ = 0;
};

/// Moments of every block, each window being one batch (docs/method.md, section 3). Gradients are those of the window's
/// mean next-token cross entropy.
template <class S, class B>
std::vector<block_moments<S>> calibrate(const B& b, const model_directory& model,
                                        const outer_layers<S, memory_of<B>>& outer,
                                        std::span<const std::vector<std::int32_t>> windows,
                                        const calibration_settings& settings) {
    return calibration<S, B>(b, model, outer, windows, settings).run();
}

/// What an error of each of a block's outputs weighs, 1 on average: the second moments of the gradients at the last
/// layer's outputs, which are the block's own but for a norm between the two, whose factors are taken out.
template <class B, class S>
vector_in<S, memory_of<B>> output_importance(const B& b, const block<S, memory_of<B>>& blk, const vector<S>& gradients,
                                             const norm_rule& norm) {
    vector<S> weights = gradients;
    if (blk.schema->has(norm_id::mlp_output)) {
        const vector<S> factors =
            subbit::download(b, blk.norms[norm_id::mlp_output]).array() + static_cast<S>(norm.offset);
        // Of a norm's factors: a channel with a factor near 0 would get an unbounded weight.
        constexpr S least = S(1e-3);
        weights.array() /= factors.array().square().max(least * least);
    }
    return subbit::upload(b, vector<S>(weights / weights.mean()));
}

}  // namespace llama
