// Llama 1 to 3, and what keeps their form, such as SmolLM2.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_llama(const config_section& from, model_config& c) {
    read_sizes(from, c);
    require_silu(from);
    const bool attention = from.flag("attention_bias"), mlp = from.flag("mlp_bias");
    c.rotary = {read_rotary(from, c)};
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), llama_block(c, {attention, attention, mlp}));
}

}  // namespace

extern const family llama_family;
const family llama_family = {{"llama"}, read_llama};

}  // namespace llama
