// Mistral: a Llama whose every block sees a window of tokens.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_mistral(const config_section& from, model_config& c) {
    read_sizes(from, c, {.num_key_value_heads = 8, .max_position_embeddings = 131072});
    require_silu(from);
    c.rotary = {read_rotary(from, c)};
    auto block = llama_block(c);
    // Absent means the first Mistral's window, null none.
    if (!from.mentions("sliding_window") || from.has("sliding_window"))
        block.attention.span = from.size("sliding_window", 4096);
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), block);
}

}  // namespace

extern const family mistral_family;
const family mistral_family = {{"mistral"}, read_mistral};

}  // namespace llama
