// A model of any family that is small enough to compress in a test: two blocks of random weights, and a tokenizer of
// bytes.
#pragma once

#include "model/model_config.hpp"

#include <subbit/core/matrix.hpp>
#include <subbit/core/random.hpp>
#include <subbit/io/atomic_file.hpp>
#include <subbit/io/safetensors_writer.hpp>

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace llama::testing {

using subbit::index;

/// The sizes; what a test wants otherwise it sets.
struct tiny_shape {
    index hidden = 128, intermediate = 192, blocks = 2, heads = 4, kv_heads = 2, vocabulary = 257;
    bool tied = true;
    std::uint64_t seed = 1;
    std::string model_type = "llama";
    nlohmann::json changes = nlohmann::json::object();  ///< keys of config.json to replace or add
};

/// The printable character that stands for a byte in byte-level vocabularies.
inline std::string byte_letter(unsigned byte) {
    const auto printable = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    unsigned point = byte;
    if (!printable(byte)) {
        point = 256;
        for (unsigned b = 0; b < byte; ++b)
            point += !printable(b);
    }
    if (point < 0x80) return {static_cast<char>(point)};
    return {static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 0x3f))};
}

/// A byte is a token of its own value; token 256 ends the text.
inline nlohmann::json byte_tokenizer() {
    nlohmann::json vocabulary;
    for (unsigned b = 0; b < 256; ++b)
        vocabulary[byte_letter(b)] = b;
    return {{"added_tokens", {{{"id", 256}, {"content", "<end>"}, {"special", true}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
}

inline nlohmann::json tiny_config(const tiny_shape& s) {
    nlohmann::json config = {{"model_type", s.model_type},
                             {"head_dim", s.hidden / s.heads},
                             {"hidden_size", s.hidden},
                             {"intermediate_size", s.intermediate},
                             {"num_hidden_layers", s.blocks},
                             {"num_attention_heads", s.heads},
                             {"num_key_value_heads", s.kv_heads},
                             {"vocab_size", s.vocabulary},
                             {"max_position_embeddings", 256},
                             {"rms_norm_eps", 1e-5},
                             {"rope_theta", 10000.0},
                             {"tie_word_embeddings", s.tied},
                             {"bos_token_id", 256},
                             {"eos_token_id", 256},
                             {"torch_dtype", "float32"}};
    config.update(s.changes);
    return config;
}

/// Adds every tensor of the model; `add` is called as add(name, shape, values).
template <class Add>
void make_tiny_tensors(const tiny_shape& s, Add&& add) {
    std::uint64_t stream = 0;
    const auto gaussian_numbers = [&](index rows, index cols, double deviation) {
        std::vector<float> values(static_cast<std::size_t>(rows * cols));
        const subbit::random_stream numbers(s.seed, stream++);
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = static_cast<float>(deviation * numbers.normal(i));
        return values;
    };
    const auto gaussian = [&](const std::string& name, index rows, index cols, double deviation) {
        add(name, std::vector<index>{rows, cols}, gaussian_numbers(rows, cols, deviation));
    };
    const auto config = parse_model_config(tiny_config(s), "config.json");
    const auto norm = [&](const std::string& name, index size) {
        add(name, std::vector<index>{size},
            std::vector<float>(static_cast<std::size_t>(size), static_cast<float>(1 - config.norm.offset)));
    };
    gaussian(config.embedding_name, s.vocabulary, s.hidden, 0.2 / config.embedding_scale);
    if (!s.tied) gaussian(config.head_name, s.vocabulary, s.hidden, 0.2);
    norm(config.final_norm_name, s.hidden);
    for (index l = 0; l < s.blocks; ++l) {
        std::map<std::string, std::vector<float>> shared;  // the rows so far of what several layers share
        for (const auto& spec : config.block(l).linears) {
            const auto [rows, cols] = spec.shape;
            const std::string name = block_prefix(l) + spec.stored_name();
            auto& weight = shared[name];
            const auto more = gaussian_numbers(rows, cols, 1 / std::sqrt(static_cast<double>(cols)));
            weight.insert(weight.end(), more.begin(), more.end());
            if (std::ssize(weight) == spec.stored_rows() * cols)
                add(name + ".weight", std::vector<index>{spec.stored_rows(), cols}, weight);
            if (!spec.bias) continue;
            std::vector<float> bias(static_cast<std::size_t>(rows));
            for (std::size_t i = 0; i < bias.size(); ++i)
                bias[i] = 0.01F * static_cast<float>(i % 7);
            add(name + ".bias", std::vector<index>{rows}, bias);
        }
        for (const auto& spec : config.block(l).norms)
            norm(block_prefix(l) + spec.name, spec.size);
    }
}

/// Writes the model's directory.
inline void write_tiny_model(const std::filesystem::path& directory, const tiny_shape& s = {}) {
    std::filesystem::create_directories(directory);
    subbit::write_file_atomically(directory / "config.json", tiny_config(s).dump(2));
    subbit::write_file_atomically(directory / "tokenizer.json", byte_tokenizer().dump());
    subbit::safetensors_writer file;
    make_tiny_tensors(s, [&](const std::string& name, std::vector<index> shape, const std::vector<float>& values) {
        file.add(name, std::move(shape), std::span<const float>(values), subbit::dtype::f32);
    });
    file.write(directory / "model.safetensors");
}

/// `bytes` characters of words that a seed picks.
inline std::string tiny_text(std::size_t bytes, std::uint64_t seed = 1) {
    static constexpr const char* words[] = {"the", "river", "runs", "over",  "stones",
                                            "and", "a",     "bird", "sings", "low"};
    const subbit::random_stream numbers(seed);
    std::string text;
    for (std::uint64_t i = 0; text.size() < bytes; ++i)
        text += std::string(words[numbers.below(i, 10)]) + (i % 9 == 8 ? ".\n" : " ");
    text.resize(bytes);
    return text;
}

}  // namespace llama::testing
