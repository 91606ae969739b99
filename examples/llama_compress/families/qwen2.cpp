// Qwen2 and Qwen2.5: a Llama with biases of queries, keys and values.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_qwen2(const config_section& from, model_config& c) {
    read_sizes(from, c, {.num_key_value_heads = 32, .max_position_embeddings = 32768});
    require_silu(from);
    c.rotary = {read_rotary(from, c)};
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), llama_block(c, {.query_key_value = true}));
    read_late_windows(from, c);
}

}  // namespace

extern const family qwen2_family;
const family qwen2_family = {{"qwen2"}, read_qwen2};

}  // namespace llama
