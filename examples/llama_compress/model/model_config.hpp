// What config.json says about a Llama: sizes, rotary embedding, special tokens.
#pragma once

#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace llama {

using subbit::index;

/// Llama-3's stretching of the rotary wavelengths, for contexts longer than the model was first trained on.
struct rope_scaling {
    double factor = 1.0;
    double low_freq_factor = 1.0;
    double high_freq_factor = 4.0;
    index original_max_position_embeddings = 8192;
};

/// The shape of a Llama; named as in config.json. Every value has been checked.
struct model_config {
    index hidden_size = 0;
    index intermediate_size = 0;
    index num_hidden_layers = 0;
    index num_attention_heads = 0;
    index num_key_value_heads = 0;  // divides num_attention_heads
    index head_dim = 0;             // even
    index vocab_size = 0;
    index max_position_embeddings = 2048;
    double rms_norm_eps = 1e-6;
    double rope_theta = 10000.0;
    std::optional<llama::rope_scaling> rope_scaling;
    bool tie_word_embeddings = false;
    bool attention_bias = false;
    bool mlp_bias = false;
    std::optional<std::int32_t> bos_token_id;
    std::vector<std::int32_t> eos_token_ids;
    std::string torch_dtype;  // empty where not said

    /// config.json as it was read: what is written back beside a compressed model.
    nlohmann::json original;
};

/// Checks and takes over a parsed config.json; format_error beginning with `where` and naming the key and what was
/// expected.
model_config parse_model_config(const nlohmann::json& document, const std::string& where);

/// Reads a config.json; io_error if it cannot be read, format_error as above.
model_config read_model_config(const std::filesystem::path& path);

}  // namespace llama
