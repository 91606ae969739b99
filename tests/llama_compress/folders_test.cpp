// What the folders of other programs hold: tokenizers, configurations, tensors and notes in place of files.
// Perplexities come from an independent implementation with the usual tokenizer library; the demo's own is 2.9425.
#include "demo_folder.hpp"
#include "program_checks.hpp"

#include "model/evaluation.hpp"

#include <subbit/backend/cpu.hpp>

#include <doctest/doctest.h>
#include <limits>

using namespace llama::testing;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const std::string up = "model.layers.1.mlp.up_proj.weight";

double perplexity_of_demo(const demo_folder& demo, const std::vector<std::string>& more = {}) {
    auto words = demo.perplexity_words(more);
    words.emplace_back("--json");
    const auto result = demo.run(words);
    INFO(result.err);
    REQUIRE(result.status == 0);
    return json::parse(result.out).at("perplexity");
}

void check_perplexity(const demo_folder& demo, double expected, const std::vector<std::string>& more = {}) {
    CHECK(perplexity_of_demo(demo, more) == doctest::Approx(expected).epsilon(2e-4));
}

/// The ids of the text as the folder's tokenizer reads it.
std::vector<std::int32_t> ids_of_text(const demo_folder& demo) {
    return llama::tokenizer(demo.model / "tokenizer.json").encode(contents_of(demo.text));
}

/// The sum of position times id: what a list of ids was in the usual library.
std::int64_t check_sum(const std::vector<std::int32_t>& ids) {
    std::int64_t sum = 0, position = 0;
    for (const auto id : ids)
        sum += ++position * id;
    return sum;
}

void add_token(demo_folder& demo, const json& token) {
    demo.config({{"vocab_size", 513}});
    demo.tokenizer([&](json& t) { t["added_tokens"].push_back(token); });
    demo.tensors([](tensor_map& t) {
        auto& embedding = t["model.embed_tokens.weight"];
        embedding.shape[0] = 513;
        embedding.bytes.resize(embedding.bytes.size() + 2 * 192);
    });
}

void set_pre_tokenizer(demo_folder& demo, const char* text) {
    demo.tokenizer([&](json& t) { t["pre_tokenizer"] = json::parse(text); });
}

/// Compresses, and reports how.
outcome compressed(const demo_folder& demo, const std::vector<std::string>& more = {}) {
    return demo.run(demo.compress_words("out", more));
}

}  // namespace

TEST_CASE("a merge that is repeated at the end has its last rank") {
    demo_folder demo;
    demo.tokenizer([](json& t) { t["model"]["merges"].push_back("h e"); });
    check_perplexity(demo, 98.6183);
}

TEST_CASE("merges that begin with a line about their version") {
    demo_folder demo;
    demo.tokenizer([](json& t) { t["model"]["merges"].insert(t["model"]["merges"].begin(), "#version: 0.2"); });
    check_perplexity(demo, 2.9425);
}

TEST_CASE("added tokens that take white space, or stand alone") {
    demo_folder lstrip;
    add_token(lstrip, {{"id", 512}, {"content", "<mask>"}, {"lstrip", true}, {"special", true}});
    check_perplexity(lstrip, 2.9425);
    demo_folder single;
    add_token(single, {{"id", 512}, {"content", "bear"}, {"single_word", true}, {"normalized", false}});
    const auto ids = ids_of_text(single);
    CHECK(ids.size() == 802);
    CHECK(check_sum(ids) == 91744336);
    CHECK(std::isfinite(perplexity_of_demo(single)));
}

TEST_CASE("the name of a special token within a text is that token, or plain text on request") {
    demo_folder demo;
    const std::string text = contents_of(demo.text);
    demo.folder.write("text.txt", text.substr(0, 900) + "<|endoftext|>" + text.substr(900, 900));
    check_perplexity(demo, 3.3198);
    check_perplexity(demo, 4.8068, {"--specials-as-text"});
}

TEST_CASE("pre-tokenizers of every kind cut as the usual library does") {
    const auto check = [](const char* pre_tokenizer, std::size_t count, std::int64_t sum) {
        demo_folder demo;
        set_pre_tokenizer(demo, pre_tokenizer);
        const auto ids = ids_of_text(demo);
        CHECK(ids.size() == count);
        CHECK(check_sum(ids) == sum);
        CHECK(std::isfinite(perplexity_of_demo(demo)));
    };
    check(R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})", 799, 91375465);
    check(R"({"type": "Sequence", "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": " "}, "behavior": "MergedWithNext", "invert": false},
              {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
          798, 91149864);
    check(R"({"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern":
              {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
              "behavior": "Isolated", "invert": false}]}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
          798, 91149864);
    check(R"({"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Isolated"},
              {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})",
          812, 90288030);
}

TEST_CASE("a step that no tokenizer of ours has is refused with its place and value") {
    demo_folder demo;
    set_pre_tokenizer(demo, R"({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]})");
    check_failed(demo.run(demo.perplexity_words()), 1,
                 {"tokenizer.json: pre_tokenizer.pretokenizers[0].type \"BertPreTokenizer\" is unknown"});
}

TEST_CASE("characters that the vocabulary does not cover are left out, and a note says so") {
    demo_folder demo;
    set_pre_tokenizer(demo, R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})");
    const auto ids = ids_of_text(demo);
    CHECK(ids.size() == 1531);
    CHECK(check_sum(ids) == 218241747);
    const auto result = demo.run(demo.perplexity_words());
    CHECK(result.status == 0);
    check_failed(result, 0, {"note: ", "text.txt has characters that the vocabulary does not cover", "\"▁\""});
    check_failed(demo.run(demo.compress_words("out", {"--dry-run"})), 0, {"note: ", "left out"});
}

TEST_CASE("byte fallback where the vocabulary has every byte, and Llama 2's way to write spaces") {
    demo_folder fallback;
    fallback.tokenizer([](json& t) { t["model"]["byte_fallback"] = true; });
    check_perplexity(fallback, 2.9425);

    demo_folder llama2;
    llama2.tokenizer([](json& t) {
        json vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
        const auto add = [&](const std::string& name) { vocabulary[name] = vocabulary.size(); };
        for (int byte = 0; byte < 256; ++byte) {
            constexpr const char* digits = "0123456789ABCDEF";
            add(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
        }
        for (const char* piece : {"▁", "t", "h", "e", "▁t", "he", "▁the"})
            add(piece);
        t["model"] = {{"type", "BPE"},        {"vocab", vocabulary},   {"merges", {"▁ t", "h e", "▁t he"}},
                      {"unk_token", "<unk>"}, {"byte_fallback", true}, {"fuse_unk", true}};
        t["normalizer"] = json::parse(R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})");
        t["pre_tokenizer"] = nullptr;
        t["added_tokens"] = json::array();
        t["decoder"] = json::parse(R"({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
    });
    const llama::tokenizer words(llama2.model / "tokenizer.json");
    CHECK(words.encode("the t!") == std::vector<std::int32_t>{265, 263, 3 + '!'});
    CHECK(words.decode(words.encode("the t! é")) == "the t! é");
    CHECK(std::isfinite(perplexity_of_demo(llama2)));
}

TEST_CASE("a normalizer NFC") {
    demo_folder demo;
    demo.tokenizer([](json& t) { t["normalizer"] = {{"type", "NFC"}}; });
    check_perplexity(demo, 2.9425);
}

TEST_CASE("each window begins with the text's first token, and one at the very start alone is the reference's number") {
    demo_folder demo;
    demo.tokenizer([](json& t) {
        t["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [511], "tokens": ["<|endoftext|>"]}}})");
    });
    check_perplexity(demo, 3.2929);
    check_perplexity(demo, 2.9425, {"--no-bos"});
    // The reference takes the windows from one list that begins with the token.
    auto ids = ids_of_text(demo);
    ids.insert(ids.begin(), 511);
    subbit::progress quiet;
    const auto result = llama::perplexity<float>(subbit::cpu({.threads = 1}), llama::model_directory(demo.model),
                                                 llama::split_windows(ids, 64), quiet);
    CHECK(result.perplexity == doctest::Approx(3.0138).epsilon(2e-4));
    const auto generated = demo.run({"generate", demo.model.string(), "--prompt", "Tom has a", "--max-tokens", "1"});
    const auto plain =
        demo.run({"generate", demo.model.string(), "--prompt", "Tom has a", "--max-tokens", "1", "--no-bos"});
    CHECK(generated.err.starts_with("prefill 4 tokens"));
    CHECK(plain.err.starts_with("prefill 3 tokens"));
}

TEST_CASE("rotary embeddings: both keys, linear, and a type that is not there") {
    demo_folder both;
    both.config({{"rope_parameters", {{"rope_theta", 10000.0}, {"rope_type", "default"}}},
                 {"rope_scaling",
                  {{"factor", 8.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0},
                   {"original_max_position_embeddings", 64},
                   {"rope_type", "llama3"}}}});
    check_perplexity(both, 3.2628);
    demo_folder linear;
    linear.config({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
    check_perplexity(linear, 3.9006);
    demo_folder untyped;
    untyped.config({{"rope_parameters", {{"rope_theta", 5000.0}}}, {"rope_theta", nullptr}});
    check_perplexity(untyped, 2.9419);
}

TEST_CASE("swish is another name of silu") {
    demo_folder demo;
    check_perplexity(demo.config({{"hidden_act", "swish"}}), 2.9425);
}

TEST_CASE("a head that is not the embedding, a bias and a norm that the configuration does not know") {
    const auto refuses = [](const std::string& name, stored_tensor tensor) {
        demo_folder demo;
        demo.tensors([&](tensor_map& t) { t[name] = std::move(tensor); });
        check_failed(demo.run(demo.perplexity_words()), 1, {name});
    };
    refuses("lm_head.weight", stored_tensor::filled({512, 192}, 0.5F));
    refuses("model.layers.0.self_attn.q_proj.bias", stored_tensor::filled({192}, 0.5F));
    refuses("model.layers.0.self_attn.q_norm.weight", stored_tensor::filled({32}, 0.5F));
}

TEST_CASE("position ids of 64-bit integers are carried over by compress and export") {
    demo_folder demo;
    const std::string name = "model.embed_tokens.position_ids";
    demo.tensors([&](tensor_map& t) {
        t[name] = {subbit::dtype::i64, {1, 4}, std::vector<std::byte>(32, std::byte{3})};
    });
    REQUIRE(compressed(demo).status == 0);
    const auto out = demo.folder / "out", dense = demo.folder / "dense";
    REQUIRE(demo.run({"export", out.string(), "--out", dense.string(), "--threads", "1"}).status == 0);
    for (const auto& path : {out, dense}) {
        const subbit::safetensors_reader file(path);
        REQUIRE(file.contains(name));
        CHECK(file.info(name).type == subbit::dtype::i64);
        CHECK(file.info(name).bytes[5] == std::byte{3});
    }
}

TEST_CASE("layers of zeros alone are compressed, by every recipe") {
    demo_folder demo;
    demo.tensors([](tensor_map& t) {
        for (const char* name : {"layers.0.self_attn.q_proj", "layers.1.self_attn.o_proj", "layers.2.self_attn.k_proj",
                                 "layers.0.mlp.gate_proj", "layers.2.mlp.down_proj"}) {
            auto& bytes = t["model." + std::string(name) + ".weight"].bytes;
            std::fill(bytes.begin(), bytes.end(), std::byte{0});
        }
    });
    const std::vector<std::vector<std::string>> recipes = {
        {"--recipe", "tuned"}, {"--recipe", "paper", "--weight-epochs", "1"}, {"--method", "rabit", "--bits", "2"}};
    for (const auto& recipe : recipes) {
        const auto result = compressed(demo, recipe);
        CAPTURE(recipe.at(1));
        CAPTURE(result.err);
        CHECK(result.status == 0);
        CHECK(result.out.find("nan") == std::string::npos);
        fs::remove_all(demo.folder / "out");
    }
}

TEST_CASE("a weight that no scale can hold is named before the work, and nothing is left behind") {
    demo_folder demo;
    const auto set = [&](const std::string& name, float value) {
        demo.tensors([&](tensor_map& t) { t.at(name).set(1000, value); });
    };
    set(up, 1e30F);
    check_failed(compressed(demo), 1, {up, "(448x192)", "e+30", "65504"});
    set("model.embed_tokens.weight", 1e30F);
    check_failed(compressed(demo), 1, {"model.embed_tokens.weight", "e+30"});
    set(up, std::numeric_limits<float>::quiet_NaN());
    check_failed(compressed(demo), 1, {up, "not finite"});
    CHECK(!fs::exists(demo.folder / "out"));
    demo.tensors([](tensor_map&) {});  // the tensor is repaired, and the same command goes through
    CHECK(compressed(demo).status == 0);
}

TEST_CASE("logits that are not finite are an error of perplexity and of generate") {
    demo_folder demo;
    demo.tensors([](tensor_map& t) { t.at(up).set(1000, 3e38F); });
    check_failed(demo.run(demo.perplexity_words()), 1, {"the logits of window 0 are not finite"});
    const auto result = demo.run({"generate", demo.model.string(), "--prompt", "Tom", "--max-tokens", "8"});
    check_failed(result, 1, {"the logits of the next token are not finite"});
    CHECK(result.out == "Tom");
}

TEST_CASE("notes of git-lfs in place of files") {
    for (const char* name : {"model.safetensors", "tokenizer.json", "config.json"}) {
        demo_folder demo;
        demo.folder.write(std::string("model/") + name,
                          "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
        check_failed(demo.run(demo.perplexity_words()), 1, {name, "is a git-lfs pointer", "git lfs pull"});
    }
}

TEST_CASE("what is there in place of the weights is named") {
    const auto failure = [](const char* name, const std::vector<std::string>& words) {
        demo_folder demo;
        fs::rename(demo.model / "model.safetensors", demo.model / name);
        check_failed(demo.run(demo.perplexity_words()), 1, words);
    };
    failure("pytorch_model.bin", {"holds neither", "pytorch_model.bin", "converted to safetensors"});
    failure("model-00001-of-00002.safetensors", {"model-00001-of-00002.safetensors; the index"});
    failure("adapter_model.safetensors", {"an adapter; merge it"});
    {
        demo_folder demo;
        fs::remove(demo.model / "model.safetensors");
        fs::create_symlink("../../blobs/0123", demo.model / "model.safetensors");
        check_failed(demo.run(demo.perplexity_words()), 1, {"model.safetensors is a link to a file that is not there"});
    }
    demo_folder demo;
    demo.folder.write("model/model.safetensors", "<!DOCTYPE html><html></html>");
    check_failed(demo.run(demo.perplexity_words()), 1, {"model.safetensors is a web page"});
    demo.model /= "model.safetensors";
    check_failed(demo.run(demo.perplexity_words()), 1, {"is not a folder; expected one with config.json"});
    demo.model = demo.folder / "nothing";
    check_failed(demo.run(demo.perplexity_words()), 1, {"there is no folder", "nothing"});
}

TEST_CASE("a model that is quantized already is told from a damaged one") {
    demo_folder demo;
    demo.config({{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}});
    check_failed(demo.run(demo.perplexity_words()), 1, {"quantization_config", "gptq", "quantized already"});
}

TEST_CASE("a tied model may be stored by its head's name, and a second copy of it goes no further") {
    const std::string embedding = "model.embed_tokens.weight", head = "lm_head.weight";
    demo_folder renamed;
    renamed.tensors([&](tensor_map& t) {
        t[head] = t.at(embedding);
        t.erase(embedding);
    });
    check_perplexity(renamed, 2.9425);
    REQUIRE(compressed(renamed).status == 0);
    CHECK(subbit::safetensors_reader(renamed.folder / "out").contains(head));

    demo_folder twice;
    twice.tensors([&](tensor_map& t) { t[head] = t.at(embedding); });
    REQUIRE(compressed(twice).status == 0);
    const subbit::safetensors_reader result(twice.folder / "out");
    CHECK(result.contains(embedding));
    CHECK(!result.contains(head));
}

TEST_CASE("no head where none is said to be shared") {
    demo_folder demo;
    demo.config({{"tie_word_embeddings", false}});
    check_failed(demo.run(demo.perplexity_words()), 1, {"no tensor \"lm_head.weight\"", "tie_word_embeddings"});
}

TEST_CASE("a damaged generation_config.json is an error before the work") {
    for (const char* text : {"{broken", "{\"eos_token_id\": [511, 99999]}"}) {
        demo_folder demo;
        demo.folder.write("model/generation_config.json", text);
        check_failed(compressed(demo), 1, {"generation_config.json"});
        CHECK(!fs::exists(demo.folder / "out"));
    }
}

TEST_CASE("names of files that are not UTF-8") {
    demo_folder demo;
    const auto model = demo.folder / "bad\xff";
    fs::rename(demo.model, model);
    demo.model = model;
    const auto result = compressed(demo, {"--test-text", demo.text.string(), "--test-context", "32"});
    INFO(result.err);
    REQUIRE(result.status == 0);
    CHECK(subbit::read_json(demo.folder / "out" / "report.json").at("model") == "bad\xef\xbf\xbd");
}

TEST_CASE("ids without a token are never drawn") {
    demo_folder demo;
    demo.config({{"vocab_size", 640}});
    demo.tensors([](tensor_map& t) {
        auto& embedding = t["model.embed_tokens.weight"];
        embedding.shape[0] = 640;
        embedding.bytes.resize(640 * 192 * 2);
    });
    const auto result = demo.run({"generate", demo.model.string(), "--prompt", "Tom", "--temperature", "3",
                                  "--ignore-eos", "--max-tokens", "200"});
    INFO(result.err);
    CHECK(result.status == 0);
    CHECK(result.err.find("decode 200 tokens") != std::string::npos);
}
