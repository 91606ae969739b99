#include "model/model_config.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <cmath>
#include <limits>

namespace llama {
namespace {

using nlohmann::json;

/// One object of the document; every complaint names the file and the key.
class section {
  public:
    section(const json& object, std::string where) : object_(object), where_(std::move(where)) {
        if (!object.is_object()) throw subbit::format_error(where_ + ": not a JSON object");
    }

    [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
        const auto found = object_.find(key);
        const std::string value = found == object_.end() ? "is missing" : "is " + shown(*found);
        throw subbit::format_error(where_ + ": " + key + " " + value + ", expected " + expected);
    }

    /// Absent and null are the same.
    bool has(const std::string& key) const { return object_.contains(key) && !object_[key].is_null(); }
    const json& operator[](const std::string& key) const { return object_[key]; }

    index size(const std::string& key, std::optional<index> fallback = {}) const {
        if (!has(key) && fallback) return *fallback;
        if (!has(key) || !object_[key].is_number_integer() || object_[key] < 1 || object_[key] > most)
            fail(key, "an integer from 1 to " + std::to_string(most));
        return object_[key].get<index>();
    }
    double positive(const std::string& key, std::optional<double> fallback = {}) const {
        if (!has(key) && fallback) return *fallback;
        if (!has(key) || !object_[key].is_number() || !(object_[key].get<double>() > 0)) fail(key, "a number above 0");
        return object_[key].get<double>();
    }
    bool flag(const std::string& key) const {
        if (!has(key)) return false;
        if (!object_[key].is_boolean()) fail(key, "true or false");
        return object_[key].get<bool>();
    }
    std::string text(const std::string& key, const std::string& fallback = {}) const {
        if (!has(key)) return fallback;
        if (!object_[key].is_string()) fail(key, "a string");
        return object_[key].get<std::string>();
    }
    /// Token ids below `vocab_size`: none, one or a list.
    std::vector<std::int32_t> token_ids(const std::string& key, index vocab_size) const {
        std::vector<std::int32_t> ids;
        if (!has(key)) return ids;
        const json list = object_[key].is_array() ? object_[key] : json::array({object_[key]});
        for (const json& id : list) {
            if (!id.is_number_integer() || id < 0 || id >= vocab_size)
                fail(key, "token ids below vocab_size " + std::to_string(vocab_size));
            ids.push_back(id.get<std::int32_t>());
        }
        return ids;
    }

  private:
    static constexpr index most = std::numeric_limits<std::int32_t>::max();

    static std::string shown(const json& value) {
        std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
        if (text.size() > 60) text = text.substr(0, 57) + "...";
        return text;
    }

    const json& object_;
    std::string where_;
};

std::optional<rope_scaling> parse_rope_scaling(const section& scaling) {
    const std::string key = scaling.has("rope_type") ? "rope_type" : "type";
    const std::string type = scaling.text(key);
    if (type == "default") return {};
    if (type != "llama3") scaling.fail(key, "\"llama3\" or \"default\"");
    const rope_scaling found{scaling.positive("factor"), scaling.positive("low_freq_factor"),
                             scaling.positive("high_freq_factor"), scaling.size("original_max_position_embeddings")};
    if (found.factor < 1) scaling.fail("factor", "1 or more");
    if (found.high_freq_factor <= found.low_freq_factor) scaling.fail("high_freq_factor", "more than low_freq_factor");
    return found;
}

}  // namespace

model_config parse_model_config(const json& document, const std::string& where) {
    const section from(document, where);
    if (from.text("model_type") != "llama") from.fail("model_type", "\"llama\"");
    if (from.text("hidden_act", "silu") != "silu") from.fail("hidden_act", "\"silu\"");

    model_config c;
    c.original = document;
    c.hidden_size = from.size("hidden_size");
    c.intermediate_size = from.size("intermediate_size");
    c.num_hidden_layers = from.size("num_hidden_layers");
    c.num_attention_heads = from.size("num_attention_heads");
    c.num_key_value_heads = from.size("num_key_value_heads", c.num_attention_heads);
    if (c.num_attention_heads % c.num_key_value_heads != 0)
        from.fail("num_key_value_heads", "a divisor of num_attention_heads " + std::to_string(c.num_attention_heads));
    if (!from.has("head_dim") && c.hidden_size % c.num_attention_heads != 0)
        from.fail("hidden_size", "a multiple of num_attention_heads " + std::to_string(c.num_attention_heads) +
                                     " where head_dim is not given");
    c.head_dim = from.size("head_dim", c.hidden_size / c.num_attention_heads);
    if (c.head_dim % 2 != 0) from.fail("head_dim", "an even number, got " + std::to_string(c.head_dim));
    c.vocab_size = from.size("vocab_size");
    c.max_position_embeddings = from.size("max_position_embeddings", c.max_position_embeddings);
    c.rms_norm_eps = from.positive("rms_norm_eps", c.rms_norm_eps);
    c.tie_word_embeddings = from.flag("tie_word_embeddings");
    c.attention_bias = from.flag("attention_bias");
    c.mlp_bias = from.flag("mlp_bias");
    c.torch_dtype = from.text("torch_dtype", from.text("dtype"));

    // Newer files keep everything rotary, the base included, in rope_parameters.
    const std::string rope_key = from.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    c.rope_theta = from.positive("rope_theta", c.rope_theta);
    if (from.has(rope_key)) {
        const section rope(from[rope_key], where + ": " + rope_key);
        c.rope_theta = rope.positive("rope_theta", c.rope_theta);
        c.rope_scaling = parse_rope_scaling(rope);
    }

    const auto bos = from.token_ids("bos_token_id", c.vocab_size);
    if (!bos.empty()) c.bos_token_id = bos.front();
    c.eos_token_ids = from.token_ids("eos_token_id", c.vocab_size);
    return c;
}

model_config read_model_config(const std::filesystem::path& path) {
    return parse_model_config(subbit::read_json(path), path.string());
}

}  // namespace llama
