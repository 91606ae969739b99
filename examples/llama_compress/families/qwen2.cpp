// Qwen2 and Qwen2.5: a Llama with biases of queries, keys and values.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_qwen2(const config_section& from, model_config& c) {
    read_sizes(from, c, {.max_position_embeddings = 32768});
    from.choice("hidden_act", {"silu", "swish"});
    c.rotary = {read_rotary(from, c)};
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), llama_block(c, {.query_key_value = true}));
    if (!from.flag("use_sliding_window")) return;
    const index span = from.size("sliding_window", 4096), first = from.size("max_window_layers", 28);
    read_layer_types(from, c, span, [&](index block) { return block >= first; });
}

}  // namespace

extern const family qwen2_family;
const family qwen2_family = {{"qwen2"}, read_qwen2};

}  // namespace llama
