// Phi-3: a Llama whose queries, keys and values are the rows of one tensor, and so are gate and up.
#include "families/shared/config_parts.hpp"

namespace llama {

namespace {

void read_phi3(const config_section& from, model_config& c) {
    read_sizes(from, c, {.max_position_embeddings = 4096, .rms_norm_eps = 1e-5});
    require_silu(from);
    c.rotary = {read_rotary(from, c)};
    if (c.rotary[0].type != rope_type::plain)
        from.fail(from.has("rope_scaling") ? "rope_scaling" : "rope_parameters", "rope_type \"default\"");
    auto block = llama_block(c);
    fuse(block, "self_attn.qkv_proj", {linear_id::query, linear_id::key, linear_id::value});
    fuse(block, "mlp.gate_up_proj", {linear_id::gate, linear_id::up});
    if (from.has("sliding_window")) block.attention.span = from.size("sliding_window");
    c.blocks.assign(static_cast<std::size_t>(c.num_hidden_layers), block);
}

}  // namespace

extern const family phi3_family;
const family phi3_family = {{"phi3"}, read_phi3};

}  // namespace llama
