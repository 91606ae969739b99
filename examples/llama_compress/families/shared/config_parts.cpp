#include "families/shared/config_parts.hpp"

#include <cmath>

namespace llama {

namespace {

// Far beyond any model: what is damaged must not ask for memory without bounds, and products of sizes must not
// overflow.
constexpr index most_blocks = 4096, most_of_heads = 65536;

/// Fails where only a part of every head is rotated.
void require_whole_heads(const config_section& from) {
    if (from.has("partial_rotary_factor") && from["partial_rotary_factor"] != 1.0)
        from.fail("partial_rotary_factor", "1");
}

}  // namespace

void read_sizes(const config_section& from, model_config& c, const size_defaults& defaults) {
    c.hidden_size = from.size("hidden_size");
    c.intermediate_size = from.size("intermediate_size");
    c.num_hidden_layers = from.size("num_hidden_layers", {}, most_blocks);
    c.num_attention_heads = from.size("num_attention_heads", {}, most_of_heads);
    // null means as many as heads; absent, what the family says.
    const bool absent = !from.mentions("num_key_value_heads");
    c.num_key_value_heads = from.size(
        "num_key_value_heads",
        absent ? defaults.num_key_value_heads.value_or(c.num_attention_heads) : c.num_attention_heads, most_of_heads);
    if (c.num_attention_heads % c.num_key_value_heads != 0)
        from.fail("num_key_value_heads", "a divisor of num_attention_heads " + std::to_string(c.num_attention_heads));
    if (!from.has("head_dim") && !defaults.head_dim && c.hidden_size % c.num_attention_heads != 0)
        from.fail("hidden_size", "a multiple of num_attention_heads " + std::to_string(c.num_attention_heads) +
                                     " where head_dim is not given");
    c.head_dim =
        from.size("head_dim", defaults.head_dim.value_or(c.hidden_size / c.num_attention_heads), most_of_heads);
    if (c.head_dim % 2 != 0) from.fail("head_dim", "an even number, got " + std::to_string(c.head_dim));
    require_whole_heads(from);
    c.vocab_size = from.size("vocab_size");
    c.max_position_embeddings = from.size("max_position_embeddings", defaults.max_position_embeddings);
    c.norm.eps = from.positive("rms_norm_eps", defaults.rms_norm_eps);
    c.tie_word_embeddings = from.flag("tie_word_embeddings", defaults.tie_word_embeddings);
    c.attention_scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
}

namespace {

/// The magnitude that YaRN gives cosine and sine, where the configuration does not (arXiv 2309.00071, equation 22).
double yarn_magnitude(const config_section& rope, double factor) {
    const auto of = [&](double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1; };
    if (rope.has("attention_factor")) return rope.positive("attention_factor");
    if (rope.has("mscale") && rope.has("mscale_all_dim"))
        return of(rope.positive("mscale")) / of(rope.positive("mscale_all_dim"));
    return of(1);
}

}  // namespace

rotary_rule read_rotary_rule(const config_section& rope, double theta, const model_config& c) {
    rotary_rule rule;
    for (const auto& key : rope.keys())
        if (rope[key].is_object()) rope.fail(key, "a number or text of the one rotary embedding");
    require_whole_heads(rope);
    rule.theta = rope.positive("rope_theta", theta);
    const std::string key = rope.has("rope_type") || !rope.has("type") ? "rope_type" : "type";
    const std::string type = rope.choice(key, {"default", "linear", "llama3", "yarn"});
    if (type == "default") return rule;
    rule.factor = rope.positive("factor");
    if (rule.factor < 1) rope.fail("factor", "1 or more");
    if (type == "linear") {
        rule.type = rope_type::linear;
    } else if (type == "llama3") {
        rule.type = rope_type::llama3;
        rule.low_freq_factor = rope.positive("low_freq_factor");
        rule.high_freq_factor = rope.positive("high_freq_factor");
        rule.trained_positions = static_cast<double>(rope.size("original_max_position_embeddings"));
        if (rule.high_freq_factor <= rule.low_freq_factor) rope.fail("high_freq_factor", "more than low_freq_factor");
    } else {
        rule.type = rope_type::yarn;
        rule.trained_positions =
            static_cast<double>(rope.size("original_max_position_embeddings", c.max_position_embeddings));
        rule.beta_fast = rope.positive("beta_fast", 32.0);
        rule.beta_slow = rope.positive("beta_slow", 1.0);
        rule.truncate = rope.flag("truncate", true);
        rule.magnitude = yarn_magnitude(rope, rule.factor);
    }
    return rule;
}

rotary_rule read_rotary(const config_section& from, const model_config& c) {
    const double theta = from.positive("rope_theta", 10000.0);
    const std::string key =
        from.has("rope_scaling") && !from["rope_scaling"].empty() ? "rope_scaling" : "rope_parameters";
    return from.has(key) ? read_rotary_rule(from.at(key), theta, c) : rotary_rule{.theta = theta};
}

void require_silu(const config_section& from) {
    from.choice("hidden_act", {"silu", "swish"});
}

void read_late_windows(const config_section& from, model_config& c) {
    const bool slides = from.flag("use_sliding_window");
    // Absent means 4096, null none.
    const bool none = !slides || (from.mentions("sliding_window") && !from.has("sliding_window"));
    const index span = none ? 0 : from.size("sliding_window", 4096), first = from.size("max_window_layers", 28);
    read_layer_types(from, c, span, [&](index block) { return span > 0 && block >= first; });
}

block_schema llama_block(const model_config& c, const block_biases& biases) {
    const index d = c.hidden_size, inner = c.intermediate_size, queries = c.query_width(), keys = c.key_width();
    block_schema block;
    const auto add = [&](linear_id id, const char* name, layer_shape shape, bool bias, double rank_share, index turn) {
        block.linears[id] = {id, name, shape, bias, rank_share, turn};
    };
    // Rank shares were found on SmolLM2 at 1.0 bit (docs/numerics.md).
    add(linear_id::query, "self_attn.q_proj", {queries, d}, biases.query_key_value, 0.765, 0);
    add(linear_id::key, "self_attn.k_proj", {keys, d}, biases.query_key_value, 0.75, 3);
    add(linear_id::value, "self_attn.v_proj", {keys, d}, biases.query_key_value, 1.25, 1);
    add(linear_id::output, "self_attn.o_proj", {d, queries}, biases.output, 1, 2);
    add(linear_id::gate, "mlp.gate_proj", {inner, d}, biases.mlp, 1, 4);
    add(linear_id::up, "mlp.up_proj", {inner, d}, biases.mlp, 1, 5);
    add(linear_id::down, "mlp.down_proj", {d, inner}, biases.mlp, 1.08, 6);
    block.norms = {{norm_id::attention, "input_layernorm.weight", d},
                   {norm_id::mlp, "post_attention_layernorm.weight", d}};
    return block;
}

void fuse(block_schema& block, const std::string& name, const std::vector<linear_id>& layers) {
    index total = 0;
    for (const linear_id id : layers) {
        block.linears[id].fused = fused_rows{name, total, 0};
        total += block.linears[id].shape.rows;
    }
    for (const linear_id id : layers)
        block.linears[id].fused->total = total;
}

void add_head_norms(block_schema& block, const model_config& c) {
    block.norms.push_back({norm_id::query, "self_attn.q_norm.weight", c.head_dim});
    block.norms.push_back({norm_id::key, "self_attn.k_norm.weight", c.head_dim});
}

}  // namespace llama
