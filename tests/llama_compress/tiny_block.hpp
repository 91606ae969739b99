// Blocks of a Llama made in memory, for tests that need no file.
#pragma once

#include "../support/strided.hpp"
#include "model/block.hpp"

#include <cmath>
#include <string>
#include <utility>

namespace llama::testing {

/// A small model of a family, by its model_type; `changes` replace or add keys of its config.json.
inline model_config small_config(const std::string& model_type = "llama", const nlohmann::json& changes = {}) {
    nlohmann::json document = {
        {"model_type", model_type}, {"hidden_size", 16},        {"intermediate_size", 24}, {"num_hidden_layers", 2},
        {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"head_dim", 4},           {"vocab_size", 31},
        {"rms_norm_eps", 1e-5}};
    document.update(changes.is_null() ? nlohmann::json::object() : changes);
    return parse_model_config(document, "config.json");
}

/// Dense random layers of deviation 1 / sqrt(inputs), norms whose factors are around one, small biases.
template <class S>
block<S> random_block(block_context<S>& context, std::uint64_t seed) {
    using subbit::testing::random_matrix;
    block<S> result(context, 0);
    std::uint64_t norm = 100 * seed + 50;
    result.visit(
        [&](const linear_spec& spec, linear_layer<S>& layer) {
            const auto [rows, cols] = spec.shape;
            subbit::dense_linear<S> dense;
            dense.weight = random_matrix<S>(rows, cols, 100 * seed + spec.number()) /
                           static_cast<S>(std::sqrt(static_cast<double>(cols)));
            if (spec.bias) dense.bias = S(0.1) * random_matrix<S>(rows, 1, 100 * seed + 20 + spec.number());
            layer = std::move(dense);
        },
        [&](const norm_spec& spec, vector<S>& weight) {
            const S center = S(1) - static_cast<S>(context.config.norm.offset);
            weight = (center + S(0.1) * random_matrix<S>(spec.size, 1, norm++).array()).matrix();
        });
    return result;
}

}  // namespace llama::testing
