// config.json: what is taken over, what is filled in, and forty ways to get it wrong.
#include "model/model_config.hpp"

#include <subbit/core/error.hpp>

#include "../support/reference.hpp"
#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <string>

using nlohmann::json;
using subbit::format_error;
using subbit::testing::check_throws;

namespace {

json sound() {
    return {{"model_type", "llama"},    {"hidden_size", 48},        {"intermediate_size", 80}, {"num_hidden_layers", 2},
            {"num_attention_heads", 6}, {"num_key_value_heads", 2}, {"vocab_size", 96},        {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},    {"torch_dtype", "bfloat16"}};
}

llama::model_config with(const std::string& key, const json& value) {
    json document = sound();
    document[key] = value;
    return llama::parse_model_config(document, "config.json");
}

void check_rejected(const std::string& key, const json& value, const std::string& expected) {
    CAPTURE(key);
    check_throws<format_error>([&] { with(key, value); }, {"config.json", key, expected});
}

void check_missing(const std::string& key) {
    json document = sound();
    document.erase(key);
    check_throws<format_error>([&] { llama::parse_model_config(document, "config.json"); },
                               {"config.json", key, "is missing"});
}

const json llama3_scaling = {{"rope_type", "llama3"},
                             {"factor", 32.0},
                             {"low_freq_factor", 1.0},
                             {"high_freq_factor", 4.0},
                             {"original_max_position_embeddings", 8192}};

json scaling_with(const std::string& key, const json& value) {
    json scaling = llama3_scaling;
    scaling[key] = value;
    return scaling;
}

}  // namespace

TEST_CASE("a configuration is taken over, with the usual values where it says nothing") {
    const auto config = llama::parse_model_config(sound(), "config.json");
    CHECK(config.hidden_size == 48);
    CHECK(config.intermediate_size == 80);
    CHECK(config.num_hidden_layers == 2);
    CHECK(config.num_attention_heads == 6);
    CHECK(config.num_key_value_heads == 2);
    CHECK(config.head_dim == 8);
    CHECK(config.vocab_size == 96);
    CHECK(config.max_position_embeddings == 2048);
    CHECK(config.rms_norm_eps == 1e-5);
    CHECK(config.rope_theta == 10000.0);
    CHECK_FALSE(config.rope_scaling);
    CHECK_FALSE(config.tie_word_embeddings);
    CHECK_FALSE(config.attention_bias);
    CHECK_FALSE(config.mlp_bias);
    CHECK_FALSE(config.bos_token_id);
    CHECK(config.eos_token_ids.empty());
    CHECK(config.torch_dtype == "bfloat16");
    CHECK(config.original == sound());
}

TEST_CASE("what a configuration may say besides") {
    CHECK(with("num_key_value_heads", nullptr).num_key_value_heads == 6);
    CHECK(with("head_dim", 10).head_dim == 10);
    CHECK(with("tie_word_embeddings", true).tie_word_embeddings);
    CHECK(with("attention_bias", true).attention_bias);
    CHECK(with("mlp_bias", true).mlp_bias);
    CHECK(with("bos_token_id", 1).bos_token_id == 1);
    CHECK(with("eos_token_id", 2).eos_token_ids == std::vector<std::int32_t>{2});
    CHECK(with("eos_token_id", {2, 95}).eos_token_ids == std::vector<std::int32_t>{2, 95});
    CHECK(with("rope_theta", 500000).rope_theta == 500000.0);
    CHECK_FALSE(with("rope_scaling", {{"type", "default"}}).rope_scaling);
    const auto scaling = with("rope_scaling", llama3_scaling).rope_scaling;
    REQUIRE(scaling);
    CHECK(scaling->factor == 32.0);
    CHECK(scaling->low_freq_factor == 1.0);
    CHECK(scaling->high_freq_factor == 4.0);
    CHECK(scaling->original_max_position_embeddings == 8192);
    json newer = scaling_with("rope_theta", 500000.0);
    CHECK(with("rope_parameters", newer).rope_theta == 500000.0);
    CHECK(with("rope_parameters", newer).rope_scaling);
}

TEST_CASE("keys that must be there") {
    for (const char* key :
         {"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"})
        check_missing(key);
}

TEST_CASE("other families are refused by name") {
    check_rejected("model_type", "mistral", "\"mistral\"");
    check_rejected("model_type", "gpt2", "expected \"llama\"");
    check_throws<format_error>([] { with("model_type", 7); }, {"model_type", "is 7", "a string"});
    check_rejected("hidden_act", "gelu", "expected \"silu\"");
}

TEST_CASE("values of the wrong kind or out of range") {
    const std::string whole = "an integer from 1";
    check_rejected("hidden_size", 0, whole);
    check_rejected("hidden_size", -48, whole);
    check_rejected("hidden_size", 48.0, whole);
    check_rejected("hidden_size", "48", whole);
    check_rejected("intermediate_size", json::array({80}), whole);
    check_rejected("num_hidden_layers", 0, whole);
    check_rejected("num_hidden_layers", 1ull << 40, whole);
    check_rejected("vocab_size", true, whole);
    check_rejected("max_position_embeddings", -1, whole);
    check_rejected("num_key_value_heads", 4, "divisor of num_attention_heads 6");
    check_rejected("num_key_value_heads", 12, "divisor of num_attention_heads 6");
    check_rejected("hidden_size", 49, "multiple of num_attention_heads 6");
    check_rejected("head_dim", 7, "even");
    check_throws<format_error>([] { with("hidden_size", 42); }, {"head_dim", "even", "7"});
    check_rejected("rms_norm_eps", 0.0, "above 0");
    check_rejected("rms_norm_eps", "1e-5", "above 0");
    check_rejected("rope_theta", -1.0, "above 0");
    check_rejected("tie_word_embeddings", 1, "true or false");
    check_rejected("attention_bias", "no", "true or false");
    check_rejected("bos_token_id", 96, "below vocab_size 96");
    check_rejected("bos_token_id", -1, "below vocab_size 96");
    check_rejected("eos_token_id", {2, 96}, "below vocab_size 96");
    check_rejected("eos_token_id", "</s>", "below vocab_size 96");
    check_rejected("torch_dtype", 16, "a string");
    check_rejected("vocab_size", std::string(1000, 'x'), "...");
}

TEST_CASE("rotary scaling that is unknown or incomplete") {
    check_rejected("rope_scaling", 2.0, "not a JSON object");
    check_rejected("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}, "\"linear\"");
    check_rejected("rope_scaling", {{"rope_type", "yarn"}}, "\"yarn\"");
    check_rejected("rope_scaling", json::object(), "type is missing");
    check_rejected("rope_scaling", {{"rope_type", "llama3"}}, "factor is missing");
    check_rejected("rope_scaling", scaling_with("factor", 0.5), "1 or more");
    check_rejected("rope_scaling", scaling_with("high_freq_factor", 1.0), "more than low_freq_factor");
    check_rejected("rope_scaling", scaling_with("original_max_position_embeddings", 0),
                   "original_max_position_embeddings");
}

TEST_CASE("files that hold no configuration") {
    const subbit::testing::temporary_directory dir;
    const std::string path = dir / "config.json";
    check_throws<subbit::io_error>([&] { llama::read_model_config(path); }, {path});
    for (const char* text :
         {"", "{", "[1]", "{\"model_type\": \"llama\", \"model_type\": \"llama\"}", "{\"a\": \"\xff\"}"}) {
        dir.write("config.json", text);
        check_throws<format_error>([&] { llama::read_model_config(path); }, {path});
    }
    dir.write("config.json", sound().dump());
    CHECK(llama::read_model_config(path).hidden_size == 48);
}

TEST_CASE("the reference model's configuration" * doctest::test_suite("reference")) {
    const auto config = llama::read_model_config(subbit::testing::reference_dir() / "llama_two_blocks/config.json");
    CHECK(config.num_attention_heads / config.num_key_value_heads == 3);
    CHECK(config.head_dim == 8);
    CHECK(config.bos_token_id == 1);
    CHECK(config.torch_dtype == "float64");
}
