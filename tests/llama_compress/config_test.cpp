// config.json: what is taken over, what is filled in, and forty ways to get it wrong.
#include "model/model_config.hpp"

#include <subbit/core/error.hpp>

#include "../support/reference.hpp"
#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <string>

using llama::linear_id;
using llama::norm_id;
using llama::rope_type;
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
    CHECK(config.norm.eps == 1e-5);
    REQUIRE(config.rotary.size() == 1);
    CHECK(config.rotary[0].theta == 10000.0);
    CHECK(config.rotary[0].type == rope_type::plain);
    CHECK_FALSE(config.tie_word_embeddings);
    REQUIRE(config.blocks.size() == 2);
    for (const auto& linear : config.block(1).linears)
        CHECK_FALSE(linear.bias);
    CHECK(config.block(1).norms.size() == 2);
    CHECK(config.block(1).attention.span == 0);
    CHECK_FALSE(config.bos_token_id);
    CHECK(config.eos_token_ids.empty());
    CHECK(config.original == sound());
}

TEST_CASE("what a configuration may say besides") {
    CHECK(with("num_key_value_heads", nullptr).num_key_value_heads == 6);
    CHECK(with("head_dim", 10).head_dim == 10);
    CHECK(with("tie_word_embeddings", true).tie_word_embeddings);
    CHECK(with("attention_bias", true).block(0).linears[linear_id::output].bias);
    CHECK_FALSE(with("attention_bias", true).block(0).linears[linear_id::down].bias);
    CHECK(with("mlp_bias", true).block(1).linears[linear_id::down].bias);
    CHECK(with("hidden_act", "swish").gate == llama::activation::silu);
    CHECK(with("bos_token_id", 1).bos_token_id == 1);
    CHECK(with("eos_token_id", 2).eos_token_ids == std::vector<std::int32_t>{2});
    CHECK(with("eos_token_id", {2, 95}).eos_token_ids == std::vector<std::int32_t>{2, 95});
}

TEST_CASE("the rotary embedding is read as transformers 5 reads it") {
    const auto rotary = [](const std::string& key, const json& value) { return with(key, value).rotary.at(0); };
    CHECK(rotary("rope_theta", 500000).theta == 500000.0);
    CHECK(rotary("rope_scaling", {{"type", "default"}}).type == rope_type::plain);
    const auto scaling = rotary("rope_scaling", llama3_scaling);
    CHECK(scaling.type == rope_type::llama3);
    CHECK(scaling.factor == 32.0);
    CHECK(scaling.low_freq_factor == 1.0);
    CHECK(scaling.high_freq_factor == 4.0);
    CHECK(scaling.trained_positions == 8192);
    CHECK(scaling.theta == 10000.0);
    CHECK(rotary("rope_parameters", scaling_with("rope_theta", 500000.0)).theta == 500000.0);
    CHECK(rotary("rope_parameters", scaling_with("rope_theta", 500000.0)).type == rope_type::llama3);
    CHECK(rotary("rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}).type == rope_type::linear);
    CHECK(rotary("rope_parameters", {{"rope_theta", 7.0}}).theta == 7.0);  // a missing type is "default"
    CHECK(rotary("rope_scaling", json::object()).type == rope_type::plain);

    json both = sound();  // rope_scaling wins, unless it says nothing
    both["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5.0}};
    both["rope_scaling"] = llama3_scaling;
    CHECK(llama::parse_model_config(both, "config.json").rotary[0].type == rope_type::llama3);
    both["rope_scaling"] = json::object();
    CHECK(llama::parse_model_config(both, "config.json").rotary[0].theta == 5.0);

    const json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
    CHECK(rotary("rope_scaling", yarn).type == rope_type::yarn);
    CHECK(rotary("rope_scaling", yarn).trained_positions == 2048);
    CHECK(rotary("rope_scaling", yarn).magnitude == doctest::Approx(0.1 * std::log(4.0) + 1));
}

TEST_CASE("what families say of their blocks") {
    const auto family = [](const std::string& type, json changes = json::object()) {
        json document = sound();
        document.erase("rope_theta");
        document["model_type"] = type;
        document.update(changes);
        return llama::parse_model_config(document, "config.json");
    };
    const auto span = [](const llama::model_config& c, llama::index block) { return c.block(block).attention.span; };
    CHECK(span(family("mistral"), 0) == 4096);
    CHECK(span(family("mistral", {{"sliding_window", nullptr}}), 0) == 0);
    CHECK(span(family("mistral", {{"sliding_window", 16}}), 1) == 16);

    const auto qwen2 = family("qwen2");
    CHECK(qwen2.block(0).linears[linear_id::query].bias);
    CHECK_FALSE(qwen2.block(0).linears[linear_id::output].bias);
    const json slides = {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}};
    CHECK(span(family("qwen2", slides), 0) == 0);
    CHECK(span(family("qwen2", slides), 1) == 8);

    const auto qwen3 = family("qwen3");
    CHECK(qwen3.head_dim == 128);
    CHECK(qwen3.block(0).has(norm_id::query));
    CHECK(qwen3.block(0).linears[linear_id::query].shape.rows == 6 * 128);

    const auto gemma = family("gemma3_text", {{"num_hidden_layers", 7}, {"sliding_window", 8}});
    CHECK(gemma.tie_word_embeddings);
    CHECK(gemma.gate == llama::activation::gelu_tanh);
    CHECK(gemma.norm.offset == 1);
    CHECK(gemma.embedding_scale == static_cast<double>(std::sqrt(48.0F)));
    CHECK(gemma.attention_scale == 1.0 / 16);
    CHECK(gemma.block(0).norms.size() == 6);
    for (llama::index l = 0; l < 7; ++l) {
        CHECK(span(gemma, l) == (l == 5 ? 0 : 8));
        CHECK(gemma.rotary[gemma.block(l).attention.rotary].theta == (l == 5 ? 1e6 : 1e4));
    }
    for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"})
        check_throws<format_error>([&] { family("gemma3_text", {{key, 30.0}}); }, {key, "expected null or false"});
    check_throws<format_error>(
        [&] {
            family("gemma3_text", {{"layer_types", {"full_attention"}}});
        },
        {"layer_types", "num_hidden_layers 2"});
    check_throws<format_error>([&] { family("phi7"); }, {"model_type", "phi7", "qwen3"});
}

TEST_CASE("keys that must be there") {
    for (const char* key :
         {"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"})
        check_missing(key);
}

TEST_CASE("other families are refused by name") {
    check_rejected("model_type", "gpt2", "expected one of \"gemma3_text\", \"llama\"");
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
    check_rejected("bos_token_id", 96, "from 0 to vocab_size - 1, 95");
    check_rejected("bos_token_id", -1, "from 0 to vocab_size - 1, 95");
    check_rejected("eos_token_id", {2, 96}, "from 0 to vocab_size - 1, 95");
    check_rejected("eos_token_id", "</s>", "from 0 to vocab_size - 1, 95");
    check_rejected("vocab_size", std::string(1000, 'x'), "...");
}

TEST_CASE("rotary scaling that is unknown or incomplete") {
    check_rejected("rope_scaling", 2.0, "not a JSON object");
    check_rejected("rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}, "\"dynamic\"");
    check_rejected("rope_scaling", {{"rope_type", "yarn"}}, "factor is missing");
    check_rejected("rope_parameters", {{"rope_theta", 0}}, "above 0");
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
}
