// A tokenizer small enough to check by hand: all 256 bytes, a few merges, two special tokens.
#include "tokenizer/tokenizer.hpp"
#include "tokenizer/byte_level.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using llama::special_tokens;
using llama::stream_decoder;
using llama::tokenizer;
using nlohmann::json;
using subbit::format_error;
using subbit::testing::check_throws;
using ids_t = std::vector<std::int32_t>;

namespace {

std::string utf8(unsigned point) {
    if (point < 0x80) return {static_cast<char>(point)};
    return {static_cast<char>(0xc0 | point >> 6), static_cast<char>(0x80 | (point & 0x3f))};
}

/// The printable character that stands for a byte in byte-level vocabularies.
std::string letter_of(unsigned byte) {
    const auto printable = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
    unsigned others = 0;
    for (unsigned b = 0; b < byte; ++b)
        others += !printable(b);
    return utf8(printable(byte) ? byte : 256 + others);
}

// Bytes have their own value as id; merges make 256 "ab", 257 "abc", 258 " a", 259 "bc"; then "<end>" 260 and "<mask>"
// 261.
const std::string space = letter_of(' ');

json sound_document() {
    json vocab;
    for (unsigned b = 0; b < 256; ++b)
        vocab[letter_of(b)] = b;
    vocab["ab"] = 256, vocab["abc"] = 257, vocab[space + "a"] = 258, vocab["bc"] = 259;
    const json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
    return {{"added_tokens",
             {{{"id", 260}, {"content", "<end>"}, {"special", true}},
              {{"id", 261}, {"content", "<mask>"}, {"special", false}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", byte_level},
            {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab c", space + " a", "b c"}}}}};
}

tokenizer make(const json& document) {
    return {document, "tokenizer.json"};
}

/// `sound_document()` with the value at a JSON pointer replaced.
json with(const std::string& pointer, const json& value) {
    json document = sound_document();
    document[json::json_pointer(pointer)] = value;
    return document;
}

/// The words that a pre-tokenizer makes of `text`, as text again where it writes letters for bytes.
std::vector<std::string> words_of(const json& pre_tokenizer, const std::string& text) {
    std::vector<std::string> words;
    llama::parse_pre_tokenizer(pre_tokenizer, "test")(
        {text, true}, [&](const llama::word& w) { words.push_back(*llama::bytes_of_letters(w.text)); });
    return words;
}

const json byte_level_alone = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};

json sequence(const json& first) {
    return {{"type", "Sequence"}, {"pretokenizers", {first, byte_level_alone}}};
}

using words_t = std::vector<std::string>;

}  // namespace

TEST_CASE("the pair of the lowest rank merges first, the leftmost of equals before the others") {
    const auto t = make(sound_document());
    CHECK(t.encode("").empty());
    CHECK(t.encode("abc") == ids_t{257});
    CHECK(t.encode("bc") == ids_t{259});
    CHECK(t.encode("xbc") == ids_t{'x', 259});
    CHECK(t.encode("ababab") == ids_t{256, 256, 256});
    CHECK(t.encode(" ab") == ids_t{' ', 256});  // "a b" ranks before " a"
    CHECK(t.encode(" ac") == ids_t{258, 'c'});
    CHECK(t.encode("\xc3\xa9") == ids_t{0xc3, 0xa9});
    CHECK(t.encode(std::string(1, '\0')) == ids_t{0});
    CHECK(t.vocab_size() == 262);
}

TEST_CASE("merges as pairs mean the same as merges as text") {
    const auto t = make(with("/model/merges", json::parse(R"([["a","b"],["ab","c"],["Ġ","a"],["b","c"]])")));
    CHECK(t.encode("abc ac xbc") == make(sound_document()).encode("abc ac xbc"));
}

TEST_CASE("ignore_merges takes a word that is a token as it is") {
    // Without the merge "ab c" the word abc falls apart, unless merges are ignored.
    json document = with("/model/merges", {"b c", "a b"});
    CHECK(make(document).encode("abc") == ids_t{'a', 259});
    document["model"]["ignore_merges"] = true;
    CHECK(make(document).encode("abc") == ids_t{257});
    CHECK(make(document).encode("abcb") == ids_t{'a', 259, 'b'});
}

TEST_CASE("added tokens are themselves, and special ones plain text on request") {
    const auto t = make(sound_document());
    CHECK(t.encode("a<end>b") == ids_t{'a', 260, 'b'});
    CHECK(t.encode("<end>", special_tokens::plain_text) == ids_t{'<', 'e', 'n', 'd', '>'});
    CHECK(t.encode("<mask><mask>", special_tokens::plain_text) == ids_t{261, 261});
    CHECK(t.decode(ids_t{'a', 260, 261}) == "a<end><mask>");
    CHECK(t.find("<end>") == 260);
    CHECK(t.find("abc") == 257);
    CHECK_FALSE(t.find("abcd"));
    // Of two that begin alike the longer one wins.
    const auto nested =
        make(with("/added_tokens", {{{"id", 260}, {"content", "<e"}}, {{"id", 261}, {"content", "<end>"}}}));
    CHECK(nested.encode("<end><e") == ids_t{261, 260});
}

TEST_CASE("an added token is no word of the model, even where merges are ignored") {
    json document = sound_document();
    document["model"]["ignore_merges"] = true;
    document["added_tokens"][1] = {{"id", 261}, {"content", "xyz"}, {"single_word", true}};
    document["pre_tokenizer"]["use_regex"] = true;
    CHECK(make(document).encode("a xyz") == ids_t{'a', ' ', 261});
    CHECK(make(document).encode("axyz") == ids_t{'a', 'x', 'y', 'z'});
}

TEST_CASE("the last rank of a pair that is repeated counts, and a version line is no merge") {
    CHECK(make(with("/model/merges", {"#version: 0.2", "a b", "b c"})).encode("abc") == ids_t{256, 'c'});
    CHECK(make(with("/model/merges", {"a b", "b c", "a b"})).encode("abc") == ids_t{'a', 259});
}

TEST_CASE("what the post-processor puts around a text") {
    CHECK(make(sound_document()).around_text().before.empty());
    const json around = json::parse(R"({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "trim_offsets": true},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "two", "type_id": 0}}],
         "pair": [], "special_tokens": {"<end>": {"id": "<end>", "ids": [260], "tokens": ["<end>"]},
                                        "two": {"id": "two", "ids": [261, 97], "tokens": ["<mask>", "a"]}}}]})");
    const auto t = make(with("/post_processor", around));
    CHECK(t.around_text().before == ids_t{260});
    CHECK(t.around_text().after == ids_t{261, 97});
    CHECK(t.encode("b") == ids_t{'b'});
}

TEST_CASE("without a decoder tokens are joined by spaces, unless their letters stand for bytes") {
    json document = sound_document();
    CHECK(make(document).decode(ids_t{258, 'b', 260}) == " ab<end>");
    document["pre_tokenizer"] = {{"type", "WhitespaceSplit"}};
    CHECK(make(document).decode(ids_t{256, 'b', 260}) == "ab b <end>");
}

TEST_CASE("what is added after a prompt continues it") {
    json document = sound_document();
    document["decoder"] = json::parse(R"({"type": "Sequence", "decoders": [
        {"type": "Fuse"}, {"type": "Strip", "content": "a", "start": 1, "stop": 0}]})");
    const auto t = make(document);
    CHECK(t.decode(ids_t{'a', 'a'}) == "a");
    stream_decoder decoder(t);
    decoder.skip(ids_t{'a', 'b'});
    CHECK(decoder.add('a') == "a");
    CHECK(decoder.finish().empty());
    CHECK(decoder.add('a').empty());  // another text
}

TEST_CASE("an id without a token is none") {
    json document = sound_document();
    document["model"]["vocab"].erase("z");
    document["added_tokens"] = {{{"id", 'a'}, {"content", "a"}}, {{"id", 'b'}, {"content", "b"}}};
    const auto t = make(document);
    CHECK_FALSE(t.is_token('z'));
    CHECK(t.is_token('y'));
    CHECK_FALSE(t.is_token(260));
    CHECK_FALSE(t.is_token(-1));
}

TEST_CASE("GPT-2's words") {
    const json gpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
    CHECK(words_of(gpt2, "I'll say  it's 12!? \n x") ==
          words_t{"I", "'ll", " say", " ", " it", "'s", " 12", "!?", " \n", " x"});
    CHECK(words_of(gpt2, " \t ") == words_t{" \t "});
    CHECK(words_of(gpt2, "caf\xc3\xa9\xc2\xa0\xd9\xa3") == words_t{"caf\xc3\xa9", "\xc2\xa0", "\xd9\xa3"});
    CHECK(words_of(byte_level_alone, "no words here") == words_t{"no words here"});
}

TEST_CASE("digits one by one, or in runs, before the words of GPT-2") {
    json digits = {{"type", "Digits"}, {"individual_digits", true}};
    const json gpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
    const json smollm = {{"type", "Sequence"}, {"pretokenizers", {digits, gpt2}}};
    CHECK(words_of(smollm, "in 2001.") == words_t{"in", " ", "2", "0", "0", "1", "."});
    CHECK(words_of(smollm, "\xc2\xbd\xd9\xa3x") == words_t{"\xc2\xbd", "\xd9\xa3", "x"});
    digits["individual_digits"] = false;
    CHECK(words_of(sequence(digits), "in 2001.") == words_t{"in ", "2001", "."});
}

TEST_CASE("words by a regular expression or a text, as Llama 3 has them") {
    // Three digits at most, lines with what ends them, contractions in either case.
    const std::string pattern =
        R"((?i:'s|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    const json split = {
        {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
    CHECK(words_of(sequence(split), "WE'RE 12345 (ok)\n\n  go") ==
          words_t{"WE", "'RE", " ", "123", "45", " (", "ok", ")\n\n", " ", " go"});
    const json text = {{"type", "Split"}, {"pattern", {{"String", ".+"}}}, {"behavior", "Isolated"}};
    CHECK(words_of(sequence(text), "a.+b.+.+") == words_t{"a", ".+", "b", ".+", ".+"});
    // A pattern that can match nothing cuts there, and must not stand still.
    const json nothing = {{"type", "Split"}, {"pattern", {{"Regex", "x*"}}}, {"behavior", "Isolated"}};
    CHECK(words_of(sequence(nothing), "aaxxb") == words_t{"a", "a", "xx", "b"});
}

TEST_CASE("any text comes back, and token by token never as half a character") {
    const auto t = make(sound_document());
    CHECK(rc::check("round trip", [&] {
        std::string text;
        for (const auto part : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 9)))
            text += std::array<const char*, 9>{"a",     "b", "c", " ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x9a\x80",
                                               "<end>", "\n"}[static_cast<std::size_t>(part)];
        const bool plain = *rc::gen::arbitrary<bool>();
        const auto ids = t.encode(text, plain ? special_tokens::plain_text : special_tokens::recognized);
        RC_ASSERT(t.decode(ids) == text);
        stream_decoder decoder(t);
        std::string streamed;
        for (const auto id : ids) {
            const std::string piece = decoder.add(id);
            RC_ASSERT_FALSE(!piece.empty() && (static_cast<unsigned char>(piece[0]) & 0xc0) == 0x80);
            t.encode(piece);  // throws unless it is UTF-8
            streamed += piece;
        }
        RC_ASSERT(decoder.finish().empty());
        RC_ASSERT(streamed == text);
    }));
}

TEST_CASE("bytes that are no character become U+FFFD, as late as they can") {
    const auto t = make(sound_document());
    stream_decoder decoder(t);
    CHECK(decoder.add(0xe2).empty());
    CHECK(decoder.add(0x82).empty());
    CHECK(decoder.add(0xac) == "\xe2\x82\xac");
    CHECK(decoder.add(0xe2).empty());
    CHECK(decoder.add('a') ==
          "\xef\xbf\xbd"
          "a");
    CHECK(decoder.add(0xff) == "\xef\xbf\xbd");
    CHECK(decoder.add(0xf0).empty());
    CHECK(decoder.finish() == "\xef\xbf\xbd");
    CHECK(decoder.finish().empty());
}

TEST_CASE("ids that are no tokens cannot be decoded") {
    const auto t = make(sound_document());
    check_throws<subbit::value_error>([&] { t.decode(ids_t{262}); }, {"262", "262 tokens"});
    check_throws<subbit::value_error>([&] { t.decode(ids_t{-1}); }, {"-1"});
}

TEST_CASE("text that is not UTF-8, or not covered") {
    const auto t = make(sound_document());
    for (const char* bad :
         {"ab\xff", "ab\x80", "ab\xc0\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82", "ab\xf5"})
        check_throws<format_error>([&] { t.encode(bad); }, {"not UTF-8", "byte 2"});
    json document = sound_document();
    document["model"]["vocab"].erase("z");
    document["model"]["vocab"]["zz"] = static_cast<int>('z');
    std::set<std::string> left_out;  // as in the usual library
    CHECK(make(document).encode("a z", special_tokens::recognized, &left_out) == ids_t{'a', ' '});
    CHECK(left_out == std::set<std::string>{"z"});
}

TEST_CASE("a long word takes a time in proportion to its length") {
    const auto t = make(sound_document());
    std::string word;
    for (int k = 0; k < 100000; ++k)
        word += "ab";
    const auto start = std::chrono::steady_clock::now();
    CHECK(t.encode(word).size() == 100000);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));  // quadratic: minutes
}

TEST_CASE("names of the first and the last token come from tokenizer_config.json") {
    const subbit::testing::temporary_directory dir;
    const auto path = dir.write("tokenizer.json", sound_document().dump());
    CHECK_FALSE(tokenizer(path).bos_id());
    dir.write("tokenizer_config.json", R"({"bos_token": {"content": "<mask>"}, "eos_token": "<end>"})");
    CHECK(tokenizer(path).bos_id() == 261);
    CHECK(tokenizer(path).eos_id() == 260);
    dir.write("tokenizer_config.json", R"({"bos_token": null, "eos_token": "<none>"})");
    check_throws<format_error>([&] { tokenizer{path}; }, {"tokenizer_config.json", "eos_token", "<none>"});
    check_throws<subbit::io_error>([&] { tokenizer{dir / "missing.json"}; }, {"missing.json"});
}
