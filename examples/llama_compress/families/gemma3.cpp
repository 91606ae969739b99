// Gemma 3, text alone: four norms a block of weight 1 + w, norms of every head, GELU, a scaled embedding, and blocks
// that see a window of tokens beside blocks that see all, with a rotary embedding for each kind.
#include "families/shared/config_parts.hpp"

#include <cmath>

namespace llama {

namespace {

/// The rotary embeddings of the blocks that see all and of those that see a window. Newer files have an object for each
/// kind. In older ones rope_theta and rope_scaling belong to the first kind, and rope_local_base_freq is the second's
/// base.
std::vector<rotary_rule> read_rotaries(const config_section& from, const model_config& c) {
    constexpr double global = 1e6, local = 1e4;
    rotary_rule full{.theta = from.positive("rope_theta", global)};
    rotary_rule sliding{.theta = from.positive("rope_local_base_freq", local)};
    if (from.has("rope_parameters")) {
        const auto parameters = from.at("rope_parameters");
        for (const auto& key : parameters.keys())
            if (key != "full_attention" && key != "sliding_attention")
                parameters.fail(key, "objects full_attention and sliding_attention alone");
        if (parameters.has("full_attention")) full = read_rotary_rule(parameters.at("full_attention"), full.theta, c);
        if (parameters.has("sliding_attention"))
            sliding = read_rotary_rule(parameters.at("sliding_attention"), sliding.theta, c);
    }
    if (from.has("rope_scaling") && !from["rope_scaling"].empty()) {
        if (full.type != rope_type::plain) from.fail("rope_scaling", "null where rope_parameters has a scaling too");
        full = read_rotary_rule(from.at("rope_scaling"), full.theta, c);
    }
    return {full, sliding};
}

block_schema gemma_block(const model_config& c) {
    block_schema block = llama_block(c);
    add_head_norms(block, c);
    for (auto& norm : block.norms)
        if (norm.id == norm_id::mlp) norm.name = "pre_feedforward_layernorm.weight";
    block.norms.push_back({norm_id::attention_output, "post_attention_layernorm.weight", c.hidden_size});
    block.norms.push_back({norm_id::mlp_output, "post_feedforward_layernorm.weight", c.hidden_size});
    return block;
}

void read_gemma3(const config_section& from, model_config& c) {
    read_sizes(
        from, c,
        {.head_dim = 256, .num_key_value_heads = 4, .max_position_embeddings = 131072, .tie_word_embeddings = true});
    from.choice("hidden_activation", {"gelu_pytorch_tanh"});
    from.refuse("attention_bias");
    from.refuse("attn_logit_softcapping");
    from.refuse("final_logit_softcapping");
    from.refuse("use_bidirectional_attention");
    c.gate = activation::gelu_tanh;
    c.norm.offset = 1;
    // As the reference has it where weights are float32; where they are bfloat16 it rounds the root to that too.
    c.embedding_scale = static_cast<double>(std::sqrt(static_cast<float>(c.hidden_size)));
    c.attention_scale = 1 / std::sqrt(from.positive("query_pre_attn_scalar", 256.0));
    c.rotary = read_rotaries(from, c);
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), gemma_block(c));
    const index pattern = from.size("sliding_window_pattern", from.size("_sliding_window_pattern", 6));
    read_layer_types(from, c, from.size("sliding_window", 4096),
                     [&](index block) { return (block + 1) % pattern != 0; });
    for (auto& block : c.blocks)
        block.attention.rotary = block.attention.span > 0 ? 1 : 0;
}

}  // namespace

extern const family gemma3_family;
const family gemma3_family = {{"gemma3_text"}, read_gemma3};

}  // namespace llama
