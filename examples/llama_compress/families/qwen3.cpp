// Qwen3: a Llama with norms of every head of queries and keys, and heads of a width of their own.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_qwen3(const config_section& from, model_config& c) {
    read_sizes(from, c, {.head_dim = 128, .num_key_value_heads = 32, .max_position_embeddings = 32768});
    require_silu(from);
    c.rotary = {read_rotary(from, c)};
    const bool attention = from.flag("attention_bias");
    auto block = llama_block(c, {attention, attention, false});
    add_head_norms(block, c);
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), block);
    read_late_windows(from, c);
}

}  // namespace

extern const family qwen3_family;
const family qwen3_family = {{"qwen3"}, read_qwen3};

}  // namespace llama
