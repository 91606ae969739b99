// The sizes of a job, from which its time and memory are estimated.
#pragma once

#include "compress/recipe.hpp"
#include "sample/batch_sampler.hpp"

#include <subbit/recon/distillation_pass.hpp>

#include <algorithm>
#include <vector>

namespace llama {

/// The sizes from which everything else is computed.
struct job_sizes {
    double blocks, compressed;  // of the model, and those to compress
    double hidden, vocabulary, window, distillation_window;
    double dense = 0;    // weights of a block's linear layers
    double packed = 0;   // signs that stand for them
    double latents = 0;  // numbers whose signs they are while they are tuned
    double learned = 0;  // operations for one token that make the latents' gradients
    double muon = 0;     // operations of a step of Muon
    double attention;    // operations of a block's attention for one token, forward
    double distillation_attention;
    double factorization_step = 0;
    double tape;           // numbers of a token that a block's backward pass needs
    double texts_at_once;  // that the original writes
    double ahead;          // blocks whose layers a rank has before their turn: its share of those factorized together

    job_sizes(const model_config& c, const compress_options& o, const std::vector<index>& ranks,
              subbit::unit_range range, int processes)
        : blocks(static_cast<double>(c.num_hidden_layers)),
          compressed(static_cast<double>(range.count())),
          hidden(static_cast<double>(c.hidden_size)),
          vocabulary(static_cast<double>(c.vocab_size)),
          window(static_cast<double>(o.window_tokens)),
          distillation_window(static_cast<double>(o.distillation_length())),
          attention(2 * window * static_cast<double>(c.num_attention_heads * c.head_dim)),
          distillation_attention(attention * distillation_window / window),
          tape(4 * hidden + static_cast<double>(c.intermediate_size)),
          texts_at_once(static_cast<double>(llama::texts_at_once(c, o.distillation_length()))),
          ahead(static_cast<double>(blocks_at_once(o, c.block(0), processes) - 1) / processes) {
        for (const auto& linear : c.block(0).linears) {
            const auto shape = linear.shape;
            const auto m = static_cast<double>(shape.rows), n = static_cast<double>(shape.cols);
            const auto r = static_cast<double>(ranks[linear.number()]);
            dense += m * n;
            tape += m;
            if (is_rabit(o)) {
                const auto paths = static_cast<double>(paths_of(o));
                packed += paths * m * n;
                latents += (coupling_of(o) == subbit::path_coupling::coupled ? 1 : paths) * m * n;
                learned += 2 * m * n;
                // Two powers of the matrix and its product with the smaller Gram matrix, five times.
                const double s = std::min(m, n);
                if (o.matrix_optimizer == "muon") muon += 5 * (4 * m * n * s + 2 * s * s * s) * latents / dense;
                continue;
            }
            tape += r + m;
            packed += r * (m + n);
            latents += r * (m + n);
            learned += 2 * r * (m + n);
            // Two right-hand sides, two Gram matrices, two Cholesky factorizations and their substitutions.
            factorization_step += 4 * m * n * r + 3 * r * r * (m + n) + 2 * r * r * r / 3;
        }
    }
};

/// The bytes that a window of distillation leaves for the backward pass, and those of them that stay in memory.
inline double tapes_of_distillation(const job_sizes& s) {
    return s.blocks * s.distillation_window * s.tape * 4;
}
inline double kept_tapes(const job_sizes& s) {
    return std::min(static_cast<double>(subbit::distillation_recipe{}.tape_bytes), tapes_of_distillation(s));
}

}  // namespace llama
