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
    CHECK(tokenizer(sound_tokenizer(), "tokenizer.json").encode("ab<end>") == std::vector<std::int32_t>{2, 3});
}

TEST_CASE("tokenizer keys that must be there") {
    check_missing("", "model");
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
    check_rejected("/model/byte_fallback", "1", {"model.byte_fallback is 1", "true or false"});
    check_rejected("/model/ignore_merges", R"("yes")", {"model.ignore_merges is \"yes\""});
    check_rejected("/model/unk_token", "0", {"model.unk_token is 0"});
    check_rejected("/model/dropout", "0.1", {"model.dropout is 0.1"});
    check_rejected("/model/continuing_subword_prefix", R"("##")", {"continuing_subword_prefix"});
    check_rejected("/model/end_of_word_suffix", R"("</w>")", {"end_of_word_suffix"});
}

TEST_CASE("normalizers that are unknown or broken") {
    const std::string at = "/normalizer";
    check_rejected(at, "[]", {"normalizer has no type"});
    check_rejected(at, R"({"type": "Precompiled"})", {"normalizer.type \"Precompiled\"", "expected", "NFKC"});
    check_rejected(at, R"({"type": "Sequence"})", {"normalizer (Sequence)", "normalizers is null"});
    check_rejected(at, R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})",
                   {"normalizer.normalizers[1].type \"Nmt\""});
    check_rejected(at, R"({"type": "Prepend"})", {"normalizer (Prepend)", "prepend is null"});
    check_rejected(at, R"({"type": "Strip", "strip_left": 1})", {"strip_left is 1"});
    check_rejected(at, R"({"type": "Replace", "content": "x"})", {"pattern is null", "a Regex or a String"});
    check_rejected(at, R"({"type": "Replace", "pattern": {"Regex": "["}, "content": "x"})",
                   {"normalizer: the regular expression"});
    check_rejected(at, R"({"type": "Replace", "pattern": {"String": "a"}})", {"content is null"});
}

TEST_CASE("post-processors that are unknown or broken") {
    const std::string at = "/post_processor";
    check_rejected(at, "3", {"post_processor has no type"});
    check_rejected(at, R"({"type": "BertProcessing"})", {"post_processor.type \"BertProcessing\""});
    check_rejected(at, R"({"type": "TemplateProcessing"})", {"single is null", "a list"});
    const auto check_single = [&](const std::string& single, std::initializer_list<std::string> parts) {
        check_rejected(at,
                       R"({"type": "TemplateProcessing", "special_tokens": {"<end>": {"ids": [3]},
            "<bad>": {"ids": [9]}, "<worse>": {"ids": [-1]}, "<none>": {}}, "single": )" +
                           single + "}",
                       parts);
    };
    check_single("[]", {"single is []", "one Sequence A"});
    check_single(R"([{"Sequence": {"id": "A"}}, {"Sequence": {"id": "A"}}])", {"one Sequence A"});
    check_single(R"([{"Sequence": {"id": "B"}}])", {"one Sequence A"});
    check_single(R"([{"SpecialToken": {"id": "<x>"}}, {"Sequence": {"id": "A"}}])", {"special_tokens", "\"<x>\""});
    check_single(R"([{"SpecialToken": {"id": "<bad>"}}, {"Sequence": {"id": "A"}}])", {"the id 9", "not a token"});
    check_single(R"([{"SpecialToken": {"id": "<worse>"}}, {"Sequence": {"id": "A"}}])", {"ids for \"<worse>\""});
    check_single(R"([{"SpecialToken": {"id": "<none>"}}, {"Sequence": {"id": "A"}}])", {"ids for \"<none>\""});
}

TEST_CASE("decoders that are unknown or broken") {
    const std::string at = "/decoder";
    check_rejected(at, R"({"type": "WordPiece"})", {"decoder.type \"WordPiece\""});
    check_rejected(at, R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "CTC"}]})",
                   {"decoder.decoders[1].type \"CTC\""});
    check_rejected(at, R"({"type": "Strip", "content": "ab"})", {"content is \"ab\"", "one character"});
    check_rejected(at, R"({"type": "Strip", "content": " ", "start": -1})", {"start is -1"});
    check_rejected(at, R"({"type": "Metaspace", "replacement": ""})", {"replacement is \"\""});
    check_rejected(at, R"({"type": "Replace", "pattern": " ", "content": ""})", {"pattern is \" \""});
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
    check_rejected("/added_tokens/0/content", R"("")", {"added_tokens", "content"});
    check_rejected("/added_tokens/0/content", "[]", {"added_tokens", "content"});
    check_rejected("/added_tokens/0/lstrip", "1", {"<end>", "lstrip"});
    json empty = sound_tokenizer();
    empty["normalizer"] = {{"type", "Strip"}};
    empty["added_tokens"][0] = {{"id", 3}, {"content", "\n"}, {"normalized", true}};
    check_rejected(empty, {"added_tokens", "\"\\n\"", "empty once it is normalized"});
    check_rejected("/added_tokens/1", R"({"id": 3, "content": "<two>"})", {"<two>", "id 3"});
    check_rejected("/added_tokens/1", R"({"id": 4, "content": "<end>"})", {"<end>", "repeated"});
}

TEST_CASE("pre-tokenizers that are unknown or broken") {
    const std::string pre = "/pre_tokenizer";
    check_rejected(pre, "7", {"pre_tokenizer has no type"});
    check_rejected(pre, R"({"type": "UnicodeScripts"})", {"pre_tokenizer.type \"UnicodeScripts\"", "Whitespace"});
    check_rejected(pre, R"({"type": "ByteLevel", "add_prefix_space": 0})", {"add_prefix_space is 0"});
    check_rejected(pre, R"({"type": "Metaspace"})", {"replacement is null"});
    check_rejected(pre, R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
                   {"prepend_scheme is \"last\"", "always, first or never"});
    check_rejected(pre,
                   R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "add_prefix_space": false})",
                   {"prepend_scheme is \"first\""});
    check_rejected(pre, R"({"type": "Punctuation", "behavior": "Joined"})", {"behavior is \"Joined\""});
    check_rejected(pre, R"({"type": "Sequence"})", {"pretokenizers is null"});
    check_rejected(pre, R"({"type": "Sequence", "pretokenizers": [3]})", {"pretokenizers[0] has no type"});
    check_rejected(pre, R"({"type": "Sequence", "pretokenizers": [{"type": "Sequence", "pretokenizers": [{}]}]})",
                   {"pre_tokenizer.pretokenizers[0].pretokenizers[0] has no type"});
    const auto check_split = [&](const std::string& split, std::initializer_list<std::string> parts) {
        check_rejected(pre, R"({"type": "Sequence", "pretokenizers": [{"type": "Split", )" + split + "}]}", parts);
    };
    check_split(R"("behavior": "Isolated")", {"pattern"});
    check_split(R"("pattern": {"Regex": 1}, "behavior": "Isolated")", {"pattern"});
    check_split(R"("pattern": {"Regex": "("}, "behavior": "Isolated")", {"regular expression", "\"(\""});
    check_split(R"("pattern": {"Regex": "\\p{Nonsense}"}, "behavior": "Isolated")", {"regular expression", "Nonsense"});
    check_split(R"("pattern": {"Regex": " "})", {"behavior is null"});
    check_split(R"("pattern": {"Regex": " "}, "behavior": "removed")", {"behavior is \"removed\""});
    check_split(R"("pattern": {"Regex": " "}, "behavior": "Isolated", "invert": 2)", {"invert is 2"});
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
