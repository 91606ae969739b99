#include <byte_pair_training.hpp>
#include <grammar.hpp>
#include <tokenizer/tokenizer.hpp>

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <subbit/core/error.hpp>

#include <string>

using train_demo::train_byte_pairs;

namespace {

llama::tokenizer trained(std::string_view text, std::size_t vocabulary) {
    return llama::tokenizer(nlohmann::json(train_byte_pairs(text, vocabulary, "<end>")), "trained");
}

}  // namespace

TEST_CASE("the most frequent pairs are merged first") {
    const auto document = train_byte_pairs("low low low lower", 256 + 3 + 1, "<end>");
    const std::vector<std::string> merges = document["model"]["merges"];
    CHECK(merges == std::vector<std::string>{"l o", "lo w", "\u0120 low"});
    CHECK(document["model"]["vocab"]["low"] == 257);
    CHECK(document["added_tokens"][0]["id"] == 259);
}

TEST_CASE("what a trained tokenizer encodes it decodes, whatever the text") {
    const auto words = trained(train_demo::stories(train_demo::story_grammar(), 1, 1, 50000).text, 400);
    CHECK(words.vocab_size() == 400);
    CHECK(rc::check("round trip", [&](const std::vector<std::string>& pieces) {
        std::string text;
        for (const auto& piece : pieces)
            for (const char c : piece)
                text += static_cast<char>(c & 0x7f);
        text += "\u00e9 \u2014 \U0001f600";
        RC_ASSERT(words.decode(words.encode(text)) == text);
    }));
}

TEST_CASE("stories become fewer tokens than bytes, and common words one token") {
    const std::string text = train_demo::stories(train_demo::story_grammar(), 1, 1, 200000).text;
    const auto words = trained(text, 512);
    const auto tokens = words.encode(text);
    CHECK(tokens.size() * 3 < text.size());
    CHECK(words.decode(tokens) == text);
    CHECK(words.encode(" the").size() == 1);
    CHECK(words.find("<end>") == 511);
}

TEST_CASE("vocabularies that cannot be are refused") {
    CHECK_THROWS_AS(train_byte_pairs("abc", 256, "<end>"), subbit::value_error);
    CHECK_THROWS_AS(train_byte_pairs("abc", 300, "<end>"), subbit::value_error);
}
