// What the config.json of most families say alike.
#pragma once

#include "families/family.hpp"

namespace llama {

/// What a family means where config.json does not say.
struct size_defaults {
    std::optional<index> head_dim = {};  ///< hidden_size / num_attention_heads where there is none
    index max_position_embeddings = 2048;
    bool tie_word_embeddings = false;
};

/// Sizes, heads, the norms' epsilon and ties, by the keys that all families share, and 1 / sqrt(head_dim) for the scores.
void read_sizes(const config_section& from, model_config& c, const size_defaults& defaults = {});

/// The rotary embedding as transformers 5 reads it: of rope_scaling and rope_parameters the first that says something, and
/// rope_theta beside them where they name none; a missing rope_type is "default".
rotary_rule read_rotary(const config_section& from, const model_config& c);

/// One rotary embedding from its own object.
rotary_rule read_rotary_rule(const config_section& rope, double theta, const model_config& c);

/// Which linear layers of a block have a bias.
struct block_biases {
    bool query_key_value = false, output = false, mlp = false;
};

/// The block of a Llama, which most families change in little: seven linear layers and two norms.
block_schema llama_block(const model_config& c, const block_biases& biases = {});

/// Adds norms of every head of queries and keys.
void add_head_norms(block_schema& block, const model_config& c);

/// Says that the layers lie below each other in one tensor, in this order.
void fuse(block_schema& block, const std::string& name, const std::vector<linear_id>& layers);

/// Gives the blocks whose layer_types entry is "sliding_attention" that span of tokens; where the list is absent,
/// `slides(block)` says which. The schemas must be there.
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
        }
        c.blocks[static_cast<std::size_t>(l)].attention.span = sliding ? span : 0;
    }
}

}  // namespace llama
