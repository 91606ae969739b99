// Blocks of a Llama made in memory, for tests that need no file.
#pragma once

#include "../support/strided.hpp"
#include "model/block.hpp"

#include <cmath>

namespace llama::testing {

inline model_config small_config() {
    model_config c;
    c.hidden_size = 16;
    c.intermediate_size = 24;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.head_dim = 4;
    c.vocab_size = 31;
    c.rms_norm_eps = 1e-5;
    return c;
}

/// Dense random layers of deviation 1 / sqrt(inputs), norms around one.
template <class S>
block<S> random_block(block_context<S>& context, std::uint64_t seed) {
    using subbit::testing::random_matrix;
    block<S> result(context);
    const index d = context.config.hidden_size;
    for (std::size_t l = 0; l < layer_count; ++l) {
        const auto shape = shape_of(context.config, l);
        subbit::dense_linear<S> dense;
        dense.weight = random_matrix<S>(shape.rows, shape.cols, 100 * seed + l) /
                       static_cast<S>(std::sqrt(static_cast<double>(shape.cols)));
        result.layers[l] = subbit::linear_layer<S>(std::move(dense));
    }
    result.attention_norm = (S(1) + S(0.1) * random_matrix<S>(d, 1, 100 * seed + 50).array()).matrix();
    result.mlp_norm = (S(1) + S(0.1) * random_matrix<S>(d, 1, 100 * seed + 51).array()).matrix();
    return result;
}

}  // namespace llama::testing
