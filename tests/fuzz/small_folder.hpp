// A folder with a model of one block, small enough for thousands of passes a second, as the bytes of its three files;
// and changes of it that keep it a folder: other values in its JSON, other numbers in its tensors.
#pragma once

#include <subbit/core/half.hpp>
#include <subbit/io/json.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llama::fuzzing {

using nlohmann::json;

struct folder_bytes {
    std::array<std::string, 3> files;  // config.json, tokenizer.json, model.safetensors
};
inline constexpr std::array<const char*, 3> file_names = {"config.json", "tokenizer.json", "model.safetensors"};

inline std::string file_of_tensors(const json& header, const std::string& numbers) {
    const std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
    const std::uint64_t size = text.size();
    std::string file(reinterpret_cast<const char*>(&size), 8);
    return file + text + numbers;
}

/// The sound folder from which all others come: hidden size 8, a vocabulary of 16.
inline folder_bytes small_folder() {
    const json config = {{"model_type", "llama"},      {"hidden_size", 8},
                         {"intermediate_size", 12},    {"num_hidden_layers", 1},
                         {"num_attention_heads", 2},   {"num_key_value_heads", 1},
                         {"vocab_size", 16},           {"rms_norm_eps", 1e-5},
                         {"rope_theta", 10000.0},      {"max_position_embeddings", 32},
                         {"tie_word_embeddings", true}};
    json vocabulary, header;
    for (const char* name : {"t", "h", "e", " ", "c", "a", "th", "the", "s", "n", "o", "m", "r", "w", "i", "d"})
        vocabulary[name] = vocabulary.size();
    const json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"t h", "th e"}}}}};
    std::string numbers;
    std::uint32_t state = 1;
    const auto add = [&](const std::string& name, const std::vector<int>& shape) {
        std::size_t size = 1;
        for (const int n : shape)
            size *= static_cast<std::size_t>(n);
        const std::size_t begin = numbers.size();
        for (std::size_t i = 0; i < size; ++i) {
            state = state * 1664525U + 1013904223U;
            const std::uint16_t bits = subbit::to_bf16(static_cast<float>(state >> 8) / float(1 << 24) - 0.5F);
            numbers.append(reinterpret_cast<const char*>(&bits), 2);
        }
        header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {begin, numbers.size()}}};
    };
    const std::string block = "model.layers.0.";
    add("model.embed_tokens.weight", {16, 8});
    add("model.norm.weight", {8});
    add(block + "input_layernorm.weight", {8});
    add(block + "post_attention_layernorm.weight", {8});
    add(block + "self_attn.q_proj.weight", {8, 8});
    add(block + "self_attn.k_proj.weight", {4, 8});
    add(block + "self_attn.v_proj.weight", {4, 8});
    add(block + "self_attn.o_proj.weight", {8, 8});
    add(block + "mlp.gate_proj.weight", {12, 8});
    add(block + "mlp.up_proj.weight", {12, 8});
    add(block + "mlp.down_proj.weight", {8, 12});
    return {{config.dump(), tokenizer.dump(), file_of_tensors(header, numbers)}};
}

/// The folder as one string: the sizes of the first two files, then all three.
inline std::string packed(const folder_bytes& folder) {
    std::string all;
    for (std::size_t k = 0; k < 2; ++k) {
        const auto size = static_cast<std::uint32_t>(folder.files[k].size());
        all.append(reinterpret_cast<const char*>(&size), 4);
    }
    for (const auto& file : folder.files)
        all += file;
    return all;
}

/// The folder of such a string, or the sound one if it is none.
inline folder_bytes unpacked(std::string_view all) {
    std::uint32_t first = 0, second = 0;
    if (all.size() < 8) return small_folder();
    std::memcpy(&first, all.data(), 4);
    std::memcpy(&second, all.data() + 4, 4);
    all.remove_prefix(8);
    if (std::uint64_t{first} + second > all.size()) return small_folder();
    return {{std::string(all.substr(0, first)), std::string(all.substr(first, second)),
             std::string(all.substr(std::size_t{first} + second))}};
}

/// One change of a folder, drawn by `random`; `mutate` changes bytes in whatever way.
class folder_change {
  public:
    using byte_change = std::function<void(std::string&)>;

    folder_change(std::uint32_t seed, byte_change mutate) : random_(seed), mutate_(std::move(mutate)) {}

    void apply(folder_bytes& folder) {
        const std::size_t k = random_() % 3;
        if (random_() % 4 == 0)
            mutate_(folder.files[k]);
        else if (k < 2)
            change_json(folder.files[k]);
        else
            change_tensors(folder.files[k]);
    }

  private:
    json some_value() {
        static const std::vector<json> values = {nullptr,
                                                 true,
                                                 false,
                                                 0,
                                                 -1,
                                                 1,
                                                 2,
                                                 3,
                                                 7,
                                                 8,
                                                 64,
                                                 65536,
                                                 2147483647,
                                                 1e-30,
                                                 1e30,
                                                 0.5,
                                                 "",
                                                 "x",
                                                 "llama",
                                                 "gemma3_text",
                                                 "phi3",
                                                 "qwen3",
                                                 "mistral",
                                                 "default",
                                                 "linear",
                                                 "yarn",
                                                 "llama3",
                                                 json::array(),
                                                 json::object()};
        return values[random_() % values.size()];
    }
    /// Another value, a new key, or one fewer, somewhere in the document.
    void change(json& value) {
        if (value.is_structured() && !value.empty() && random_() % 4 != 0) {
            auto at = value.begin();
            std::advance(at, static_cast<std::ptrdiff_t>(random_() % value.size()));
            if (random_() % 8 == 0)
                value.erase(at);
            else
                change(*at);
        } else if (value.is_object()) {
            static const std::vector<const char*> keys = {
                "head_dim",      "attention_bias", "mlp_bias",      "sliding_window", "rope_scaling", "rope_parameters",
                "layer_types",   "normalizer",     "pre_tokenizer", "post_processor", "decoder",      "added_tokens",
                "byte_fallback", "unk_token",      "factor",        "type",           "content",      "lm_head.weight"};
            value[keys[random_() % keys.size()]] = some_value();
        } else if (value.is_number() && random_() % 2 == 0) {
            value = value.get<double>() + (random_() % 2 == 0 ? 1 : -1);
        } else {
            value = some_value();
        }
    }
    void change_json(std::string& file) {
        json document = json::parse(file, nullptr, false);
        if (document.is_discarded()) return mutate_(file);
        change(document);
        file = document.dump(-1, ' ', false, json::error_handler_t::replace);
    }
    /// Another header, or other numbers, or a file that is cut off.
    void change_tensors(std::string& file) {
        std::uint64_t size = 0;
        if (file.size() >= 8) std::memcpy(&size, file.data(), 8);
        if (file.size() < 8 || size > file.size() - 8) return mutate_(file);
        const std::size_t begin = 8 + static_cast<std::size_t>(size);
        const auto kind = random_() % 4;
        if (kind == 0) {
            std::string header = file.substr(8, static_cast<std::size_t>(size));
            change_json(header);
            std::uint64_t changed = header.size();
            file = std::string(reinterpret_cast<const char*>(&changed), 8) + header + file.substr(begin);
        } else if (kind == 1 && random_() % 8 == 0) {
            file.resize(random_() % file.size());
        } else if (file.size() > begin + 2) {
            static const std::vector<std::uint16_t> numbers = {0x0000, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0x7f7f, 0x3f80,
                                                               0xbf80, 0x0080, 0x0001, 0x5f00, 0x7149, 0x4780};
            const std::size_t at = begin + random_() % ((file.size() - begin) / 2) * 2;
            std::memcpy(file.data() + at, &numbers[random_() % numbers.size()], 2);
        }
    }

    std::minstd_rand random_;
    byte_change mutate_;
};

}  // namespace llama::fuzzing
