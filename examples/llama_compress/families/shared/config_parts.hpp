// The parts of config.json that most families have in common.
#pragma once

#include "families/family.hpp"

namespace llama {

/// A family's values for keys that config.json may leave out.
struct size_defaults {
    std::optional<index> head_dim = {};             ///< if not set, hidden_size / num_attention_heads
    std::optional<index> num_key_value_heads = {};  ///< if not set, num_attention_heads
    index max_position_embeddings = 2048;
    double rms_norm_eps = 1e-6;
    bool tie_word_embeddings = false;
};

/// Reads sizes, heads, the norms' epsilon and tied embeddings by the keys that all families share, and sets the scores'
/// scale to 1 / sqrt(head_dim).
void read_sizes(const config_section& from, model_config& c, const size_defaults& defaults = {});

/// The rotary embedding as transformers 5 reads it: from rope_scaling or else rope_parameters, the first that is not
/// empty, with rope_theta beside them if they have none; a missing rope_type is "default".
rotary_rule read_rotary(const config_section& from, const model_config& c);

/// One rotary embedding from its own object; fails on a nested object and on embeddings of a part of the head.
rotary_rule read_rotary_rule(const config_section& rope, double theta, const model_config& c);

/// Fails unless hidden_act is SiLU, by either of its names.
void require_silu(const config_section& from);

/// The linear layers of a block that have a bias.
struct block_biases {
    bool query_key_value = false, output = false, mlp = false;
};

/// The block of a Llama, with seven linear layers and two norms; other families change parts of it.
block_schema llama_block(const model_config& c, const block_biases& biases = {});

/// Adds norms of queries and keys, for every head.
void add_head_norms(block_schema& block, const model_config& c);

/// Stores the layers as consecutive rows of one tensor, in this order.
void fuse(block_schema& block, const std::string& name, const std::vector<linear_id>& layers);

/// The sliding windows of Qwen2 and Qwen3: with use_sliding_window, of the blocks that layer_types names or, without
/// that list, from max_window_layers on. config.blocks must have been filled.
void read_late_windows(const config_section& from, model_config& c);

/// Sets the attention's span of the blocks whose entry in layer_types is "sliding_attention"; without that list, of the
/// blocks for which `slides(block)` is true. config.blocks must have been filled.
template <class Slides>
void read_layer_types(const config_section& from, model_config& c, index span, Slides&& slides) {
    const bool listed = from.has("layer_types");
    if (listed && (!from["layer_types"].is_array() || std::ssize(from["layer_types"]) != c.num_hidden_layers))
        from.fail("layer_types", "a list of num_hidden_layers " + std::to_string(c.num_hidden_layers) + " entries");
    for (index l = 0; l < c.num_hidden_layers; ++l) {
        bool sliding = slides(l);
        if (listed) {
            const auto& type = from["layer_types"][static_cast<std::size_t>(l)];
            if (type != "sliding_attention" && type != "full_attention")
                from.fail("layer_types", "entries \"sliding_attention\" or \"full_attention\"");
            sliding = type == "sliding_attention";
            if (sliding && span == 0) from.fail("layer_types", "no \"sliding_attention\" without a sliding_window");
        }
        c.blocks[static_cast<std::size_t>(l)].attention.span = sliding ? span : 0;
    }
}

}  // namespace llama
