// One pass of the original model: the clipped second moments of every linear layer's inputs and output gradients.
#pragma once

#include "model/evaluation.hpp"

#include <subbit/calib/moments.hpp>

#include <vector>

namespace llama {

/// Per linear layer: i (inputs) and o (output gradients), not yet shrunk.
template <class S>
using block_moments = per_linear<subbit::layer_moments<S>>;

/// Bytes of hidden states that the pass may hold: with more blocks it takes fewer windows at a time, so its memory does
/// not grow with the depth of the model.
inline constexpr std::size_t calibration_bytes = std::size_t{192} << 20;

/// Moments of every block, each window being one batch (docs/method.md, section 3), in one pass or in two. Gradients
/// are those of the window's mean next-token cross entropy. `held_bytes` limits the hidden states that are held at
/// once; the moments depend neither on it nor on the number of ranks, which share the windows out where there are two
/// passes.
template <class S, class B>
std::vector<block_moments<S>> calibrate(const B& b, const model_directory& model,
                                        std::span<const std::vector<std::int32_t>> windows,
                                        const subbit::moment_options& options, subbit::progress& watcher,
                                        const subbit::communicator& ranks = subbit::this_process_alone(),
                                        std::size_t held_bytes = calibration_bytes) {
    const auto& config = model.config();
    const index blocks = config.num_hidden_layers, length = std::ssize(windows[0]), d = config.hidden_size;
    using memory = memory_of<B>;
    using states = matrix_in<S, memory>;
    block_context<S, memory> context(b, config, length);
    const auto outer = upload(b, model.load_outer_layers<S>());

    struct accumulators {
        subbit::clipped_moments<S> input, output;
    };
    std::vector<std::vector<accumulators>> moments(static_cast<std::size_t>(blocks));
    for (index l = 0; l < blocks; ++l)
        for (const auto& linear : config.block(l).linears) {
            auto in = options, out = options;
            in.name = block_prefix(l) + linear.name + ": inputs";
            out.name = block_prefix(l) + linear.name + ": output gradients";
            out.scale = 1e6;
            moments[static_cast<std::size_t>(l)].push_back({subbit::clipped_moments<S>(linear.shape.cols, in),
                                                            subbit::clipped_moments<S>(linear.shape.rows, out)});
        }

    const bool two_passes = subbit::needs_two_passes(options.mode);
    const subbit::communicator& sharing = two_passes ? ranks : subbit::this_process_alone();
    const index group = windows_at_once<B>(length), groups = (std::ssize(windows) + group - 1) / group;
    const auto share = subbit::even_share(groups, sharing.size(), sharing.rank());
    const subbit::unit_range mine{share.first * group, std::min<index>(share.last * group, std::ssize(windows))};
    const auto per_group = static_cast<std::size_t>((blocks + 1) * group * length * d) * sizeof(S);
    const index chunk = std::max<index>(1, static_cast<index>(held_bytes / per_group)) * group;
    const index chunks = (mine.count() + chunk - 1) / chunk * (two_passes ? 2 : 1);
    std::size_t done = 0;
    block_tape<S, memory> tape;
    vector_in<S, memory> inverse_rms;
    const auto for_each_sum = [&](const auto& f) {
        for (auto& of_block : moments)
            for (auto& a : of_block)
                f(a.input), f(a.output);
    };
    for (int pass = two_passes ? 0 : 1; pass < 2; ++pass) {
        for (index first = mine.first; first < mine.last; first += chunk) {
            const index count = std::min(chunk, mine.last - first), rows = count * length;
            std::vector<states> inputs(static_cast<std::size_t>(blocks));
            states X = embed_windows<B, S>(
                b, outer, windows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
            for (index l = 0; l < blocks; ++l) {
                inputs[static_cast<std::size_t>(l)] = subbit::copy_of(b, X);
                run_block(b, model.load_block<B, S>(b, l, context), length, X, tape);
                report_step(watcher, "calibrate", ++done, static_cast<std::size_t>(2 * blocks * chunks), -1);
            }
            auto normed = subbit::allocate<S>(b, length, d), d_normed = subbit::allocate<S>(b, length, d),
                 gradient = subbit::allocate<S>(b, rows, d);
            for (index w = 0; w < count; ++w) {
                const auto x = subbit::const_view(X).middle_rows(w * length, length);
                const auto labels = next_tokens(windows[static_cast<std::size_t>(first + w)]);
                rms_norm(b, x, subbit::const_span(outer.final_norm), config.norm, view(normed), inverse_rms);
                subbit::cross_entropy(b, subbit::const_view(normed), subbit::const_view(outer.head()),
                                      std::span<const std::int32_t>(labels), 1.0 / static_cast<double>(length - 1),
                                      view(d_normed));
                rms_norm_backward(b, x, subbit::const_span(outer.final_norm), config.norm, inverse_rms,
                                  subbit::const_view(d_normed), view(gradient).middle_rows(w * length, length),
                                  std::span<S>());
            }
            // Several windows share a product; the moments still count each window as a batch.
            const index together = group * length;
            auto Y = subbit::allocate<S>(b, together, d), d_input = subbit::allocate<S>(b, together, d);
            for (index l = blocks - 1; l >= 0; --l) {
                auto blk = model.load_block<B, S>(b, l, context);
                auto& m = moments[static_cast<std::size_t>(l)];
                for (index t = 0; t < rows; t += together) {
                    const index taken = std::min(together, rows - t);
                    const auto x = subbit::const_view(inputs[static_cast<std::size_t>(l)]).middle_rows(t, taken);
                    const auto dy = view(gradient).middle_rows(t, taken);
                    const auto dx = view(d_input).middle_rows(0, taken);
                    blk.forward(b, x, length, view(Y).middle_rows(0, taken), tape);
                    blk.backward(b, subbit::trainable{}, tape, length, dy, dx,
                                 [&](index k, matrix_view<const S> layer_input, matrix_view<const S> d_output) {
                                     auto& a = m[static_cast<std::size_t>(k)];
                                     if (pass == 0) {
                                         a.input.observe(b, layer_input, length);
                                         a.output.observe(b, d_output, length);
                                     } else {
                                         a.input.add_batch(b, layer_input, length);
                                         a.output.add_batch(b, d_output, length);
                                     }
                                 });
                    subbit::axpby(b, 1, dx, 0, dy);
                }
                report_step(watcher, "calibrate", ++done, static_cast<std::size_t>(2 * blocks * chunks), -1);
            }
        }
        for_each_sum([&](auto& sum) { pass == 0 ? sum.merge_observed(sharing) : sum.merge_added(sharing); });
    }

    std::vector<block_moments<S>> result(static_cast<std::size_t>(blocks));
    for (index l = 0; l < blocks; ++l)
        for (std::size_t k = 0; k < layer_count; ++k) {
            const auto& a = moments[static_cast<std::size_t>(l)][k];
            result[static_cast<std::size_t>(l)][k] = {a.input.finish(), a.output.finish()};
        }
    return result;
}

}  // namespace llama
