#include "model/model_config.hpp"

#include "families/family.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <algorithm>
#include <map>

namespace llama {

namespace {

/// The family of config.json's model_type.
const family& family_of(const config_section& from) {
    const std::string type = from.text("model_type");
    std::string known;
    for (const family* f : families())
        for (const auto name : f->model_types) {
            if (name == type) return *f;
            known += (known.empty() ? "\"" : ", \"") + std::string(name) + "\"";
        }
    from.fail("model_type", "one of " + known);
}

/// value_error where a family's description contradicts itself: the passes rely on what is checked here.
void require_sound(const model_config& c) {
    const auto require = [&](bool good, const char* what) {
        if (!good) throw subbit::value_error("family of " + c.model_type + ": " + what);
    };
    require(std::ssize(c.blocks) == c.num_hidden_layers && c.num_hidden_layers > 0, "one schema for every block");
    for (const auto& block : c.blocks) {
        require(block.attention.rotary < c.rotary.size(), "attention.rotary is one of the model's rotary embeddings");
        require(block.has(norm_id::attention) && block.has(norm_id::mlp), "a norm before attention and MLP");
        require(block.has(norm_id::query) == block.has(norm_id::key), "norms of queries and keys, or of neither");
        std::map<std::string, index> rows_of;
        per_linear<int> turns{};
        for (const auto& linear : block.linears) {
            const auto& first = c.block(0).linears[linear.id];
            require(linear.shape.rows == first.shape.rows && linear.shape.cols == first.shape.cols &&
                        linear.rank_share == first.rank_share && linear.turn == first.turn,
                    "the same shapes, shares of rank and turns in every block");
            require(linear.turn >= 0 && linear.turn < index{layer_count}, "turns from 0 to 6");
            ++turns[static_cast<std::size_t>(linear.turn)];
            index& rows = rows_of[linear.stored_name()];
            require(!linear.fused || linear.fused->first == rows, "fused layers in the order of their rows");
            rows += linear.shape.rows;
        }
        require(std::ranges::all_of(turns, [](int times) { return times == 1; }), "every turn once");
        for (const auto& linear : block.linears)
            require(rows_of[linear.stored_name()] == linear.stored_rows(), "layers that fill the tensor they share");
    }
}

}  // namespace

model_config parse_model_config(const nlohmann::json& document, const std::string& where) {
    const config_section from(document, where);
    if (from.has("quantization_config"))
        from.fail("quantization_config", "none: the model is quantized already; its original can be compressed");
    const family& kind = family_of(from);
    model_config c;
    c.original = document;
    c.model_type = from.text("model_type");
    kind.read(from, c);
    const auto bos = from.token_ids("bos_token_id", c.vocab_size);
    if (!bos.empty()) c.bos_token_id = bos.front();
    c.eos_token_ids = from.token_ids("eos_token_id", c.vocab_size);
    require_sound(c);
    return c;
}

model_config read_model_config(const std::filesystem::path& path) {
    return parse_model_config(subbit::read_json(path), path.string());
}

}  // namespace llama
