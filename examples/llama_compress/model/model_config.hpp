// The description of a model, which its family reads from config.json: sizes, blocks, rotary embeddings, special
// tokens.
#pragma once

#include "model/gate.hpp"
#include "model/norm.hpp"
#include "model/rotary.hpp"
#include "model/schema.hpp"

#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace llama {

/// A model of any family; sizes are named as in config.json. Every value has been checked.
struct model_config {
    std::string model_type;
    index hidden_size = 0;  // d
    index intermediate_size = 0;
    index num_hidden_layers = 0;
    index num_attention_heads = 0;
    index num_key_value_heads = 0;  // divides num_attention_heads
    index head_dim = 0;             // even
    index vocab_size = 0;
    index max_position_embeddings = 2048;
    bool tie_word_embeddings = false;
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;

    norm_rule norm;
    activation gate = activation::silu;
    double attention_scale = 0;  ///< of the scores
    double embedding_scale = 1;  ///< of the embedding, not of a head that is tied to it
    std::vector<rotary_rule> rotary;
    std::vector<block_schema> blocks;

    std::string embedding_name = "model.embed_tokens.weight";  ///< (vocabulary, d)
    std::string final_norm_name = "model.norm.weight";         ///< (d)
    std::string head_name = "lm_head.weight";                  ///< (vocabulary, d), where it is not tied

    /// config.json as it was read, which is written beside a compressed model.
    nlohmann::json original;

    const block_schema& block(index number) const { return blocks[static_cast<std::size_t>(number)]; }
    index query_width() const { return num_attention_heads * head_dim; }
    index key_width() const { return num_key_value_heads * head_dim; }
};

/// "model.layers.3."
inline std::string block_prefix(index block) {
    return "model.layers." + std::to_string(block) + ".";
}

/// Checks and takes over a parsed config.json by the family that its model_type names; format_error beginning with
/// `where` and naming the key and what was expected.
model_config parse_model_config(const nlohmann::json& document, const std::string& where);

/// Reads a config.json; io_error if it cannot be read, format_error as above.
model_config read_model_config(const std::filesystem::path& path);

}  // namespace llama
