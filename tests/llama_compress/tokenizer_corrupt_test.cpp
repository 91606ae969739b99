// Tokenizer files that lie or are of another kind: each must end in a format_error that names the file and the key.
#include "tokenizer/tokenizer.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <string>

using llama::tokenizer;
using nlohmann::json;
using subbit::format_error;
using subbit::testing::check_throws;

namespace {

json sound_tokenizer() {
    return json::parse(R"({
        "added_tokens": [{"id": 3, "content": "<end>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

void check_rejected(const json& document, std::initializer_list<std::string> parts) {
    CAPTURE(document.dump());
    check_throws<format_error>([&] { tokenizer(document, "tokenizer.json"); }, {"tokenizer.json"});
    check_throws<format_error>([&] { tokenizer(document, "tokenizer.json"); }, parts);
}

/// The value at a JSON pointer replaced by other JSON.
void check_rejected(const std::string& pointer, const std::string& value, std::initializer_list<std::string> parts) {
    json document = sound_tokenizer();
    document[json::json_pointer(pointer)] = json::parse(value);
    check_rejected(document, parts);
}

void check_missing(const std::string& parent, const std::string& key) {
    json document = sound_tokenizer();
    document[json::json_pointer(parent)].erase(key);
    check_rejected(document, {"has no " + key});
}

}  // namespace

TEST_CASE("what the corruptions below start from is sound") {
    CHECK(tokenizer(sound_tokenizer(), "tokenizer.json").encode("ab<end>", true) == std::vector<std::int32_t>{2, 3});
}

TEST_CASE("tokenizer keys that must be there") {
    check_missing("", "model");
    check_missing("", "pre_tokenizer");
    check_missing("/model", "vocab");
    check_missing("/model", "merges");
    check_missing("/added_tokens/0", "id");
    check_missing("/added_tokens/0", "content");
    for (const char* document : {"null", "[]", "7", "\"text\"", "{}"})
        check_rejected(json::parse(document), {"model"});
}

TEST_CASE("tokenizers of another kind") {
    check_rejected("/model", "[]", {"model"});
    check_rejected("/model/type", R"("Unigram")", {"model.type", "BPE"});
    check_rejected("/model/type", "1", {"model.type"});
    check_rejected("/model/byte_fallback", "true", {"model.byte_fallback"});
    check_rejected("/model/dropout", "0.1", {"model.dropout"});
    check_rejected("/model/continuing_subword_prefix", R"("##")", {"continuing_subword_prefix"});
    check_rejected("/model/end_of_word_suffix", R"("</w>")", {"end_of_word_suffix"});
    check_rejected("/normalizer", R"({"type": "NFC"})", {"normalizer"});
}

TEST_CASE("vocabularies that are none") {
    check_rejected("/model/vocab", "{}", {"model.vocab"});
    check_rejected("/model/vocab", R"(["a", "b"])", {"model.vocab"});
    check_rejected("/model/vocab/b", "0", {"model.vocab", "\"b\"", "id 0 of another token"});
    check_rejected("/model/vocab/b", "-1", {"\"b\"", "-1"});
    check_rejected("/model/vocab/b", "4", {"\"b\"", "id 4", "0 to 3"});
    check_rejected("/model/vocab/b", "4294967296", {"\"b\"", "4294967296"});
    check_rejected("/model/vocab/b", "18446744073709551615", {"\"b\"", "18446744073709551615"});
    check_rejected("/model/vocab/b", "1.0", {"\"b\"", "1.0"});
    check_rejected("/model/vocab/b", R"("1")", {"\"b\""});
}

TEST_CASE("merges that name no tokens") {
    check_rejected("/model/merges", "{}", {"model.merges"});
    check_rejected("/model/merges/0", R"("a c")", {"model.merges[0]", "a c", "not in model.vocab"});
    check_rejected("/model/merges/0", R"("c b")", {"model.merges[0]", "c b"});
    check_rejected("/model/merges/0", R"("b a")", {"model.merges[0]", "b a"});
    check_rejected("/model/merges/0", R"("ab")", {"model.merges[0]", "not a pair"});
    check_rejected("/model/merges/0", R"("")", {"model.merges[0]", "not a pair"});
    check_rejected("/model/merges/0", R"("a b ab")", {"model.merges[0]"});
    check_rejected("/model/merges/0", R"(["a"])", {"model.merges[0]", "not a pair"});
    check_rejected("/model/merges/0", R"(["a", 1])", {"model.merges[0]", "not a pair"});
    check_rejected("/model/merges/0", "7", {"model.merges[0]", "not a pair"});
}

TEST_CASE("added tokens that contradict themselves or the vocabulary") {
    check_rejected("/added_tokens", "{}", {"added_tokens"});
    check_rejected("/added_tokens/0", "3", {"added_tokens"});
    check_rejected("/added_tokens/0/id", "2", {"added_tokens", "<end>", "id 2"});
    check_rejected("/added_tokens/0/id", "9", {"added_tokens", "<end>", "id 9"});
    check_rejected("/added_tokens/0/content", R"("a")", {"added_tokens", "\"a\"", "id 3", "model.vocab 0"});
    json accent =
        sound_tokenizer();  // as a vocabulary entry the letter is the byte E9, as an added token the character U+00E9
    accent["model"]["vocab"]["\xc3\xa9"] = 3;
    accent["added_tokens"][0]["content"] = "\xc3\xa9";
    check_rejected(accent, {"added_tokens", "other bytes"});
    check_rejected("/added_tokens/0/content", R"("")", {"added_tokens", "content"});
    check_rejected("/added_tokens/0/content", "[]", {"added_tokens", "content"});
    check_rejected("/added_tokens/0/lstrip", "true", {"<end>", "lstrip"});
    check_rejected("/added_tokens/1", R"({"id": 3, "content": "<two>"})", {"<two>", "id 3"});
    check_rejected("/added_tokens/1", R"({"id": 4, "content": "<end>"})", {"<end>", "repeated"});
}

TEST_CASE("pre-tokenizers that are unknown or broken") {
    const std::string pre = "/pre_tokenizer";
    check_rejected(pre, "null", {"pre_tokenizer", "type"});
    check_rejected(pre, R"({"type": "Metaspace"})", {"pre_tokenizer", "Metaspace"});
    check_rejected(pre, R"({"type": "Digits"})", {"pre_tokenizer", "ByteLevel"});
    check_rejected(pre, R"({"type": "ByteLevel"})", {"pre_tokenizer", "add_prefix_space"});
    check_rejected(pre, R"({"type": "ByteLevel", "add_prefix_space": 0})", {"pre_tokenizer", "add_prefix_space"});
    check_rejected(pre, R"({"type": "Sequence"})", {"pre_tokenizer", "pretokenizers"});
    check_rejected(pre, R"({"type": "Sequence", "pretokenizers": []})", {"pre_tokenizer", "ByteLevel"});
    check_rejected(pre, R"({"type": "Sequence", "pretokenizers": [3]})", {"pre_tokenizer", "type"});
    const auto check_split = [&](const std::string& split, std::initializer_list<std::string> parts) {
        check_rejected(pre, R"({"type": "Sequence", "pretokenizers": [{"type": "Split", )" + split + "}]}", parts);
    };
    check_split(R"("behavior": "Isolated")", {"pattern"});
    check_split(R"("pattern": {"Regex": 1}, "behavior": "Isolated")", {"pattern"});
    check_split(R"("pattern": {"Regex": "("}, "behavior": "Isolated")", {"regular expression", "\"(\""});
    check_split(R"("pattern": {"Regex": "\\p{Nonsense}"}, "behavior": "Isolated")", {"regular expression", "Nonsense"});
    check_split(R"("pattern": {"Regex": " "}, "behavior": "Removed")", {"behavior"});
    check_split(R"("pattern": {"Regex": " "}, "behavior": "Isolated", "invert": true)", {"behavior"});
    check_rejected(pre, R"({"type": "Sequence", "pretokenizers":
        [{"type": "ByteLevel", "add_prefix_space": false}, {"type": "Digits"}]})",
                   {"goes on after ByteLevel"});
}

TEST_CASE("a regular expression that never ends is cut off") {
    json document = sound_tokenizer();
    document["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
    const tokenizer t(document, "tokenizer.json");
    check_throws<format_error>([&] { t.encode(std::string(60, 'a') + "b"); }, {"tokenizer.json", "gives up"});
}

TEST_CASE("files that hold no tokenizer") {
    const subbit::testing::temporary_directory dir;
    for (const std::string& text : {std::string(), std::string("{"), sound_tokenizer().dump().substr(0, 100),
                                    std::string(R"({"model": {}, "model": {}})")}) {
        const auto path = dir.write("tokenizer.json", text);
        check_throws<format_error>([&] { tokenizer{path}; }, {path});
    }
    json twice = sound_tokenizer();
    std::string text = twice.dump();
    text.replace(text.find("\"b\":1"), 5, "\"b\":1,\"b\":5");
    const auto path = dir.write("tokenizer.json", text);
    check_throws<format_error>([&] { tokenizer{path}; }, {path, "\"b\"", "repeated"});
}
