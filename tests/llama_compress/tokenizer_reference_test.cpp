// Tokenizers against ids and texts made by the usual library: every step that we know, and the families' own files.
#include "tokenizer/tokenizer.hpp"

#include <subbit/io/json.hpp>

#include "../support/reference.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using llama::tokenizer;
using nlohmann::json;
using ids_t = std::vector<std::int32_t>;
namespace fs = std::filesystem;

namespace {

std::string streamed(const tokenizer& t, const ids_t& ids) {
    llama::stream_decoder decoder(t);
    std::string text;
    for (const auto id : ids)
        text += decoder.add(id);
    return text + decoder.finish();
}

void check_text(const tokenizer& t, const std::string& text, const ids_t& expected, const json& decoded) {
    CAPTURE(text);
    const auto ids = t.encode(text);
    CHECK(ids == expected);
    if (decoded.is_null()) return;
    CHECK(t.decode(ids) == decoded.get<std::string>());
    CHECK(streamed(t, ids) == decoded.get<std::string>());
}

}  // namespace

TEST_SUITE("reference") {
    TEST_CASE("every step makes the tokens that the usual library makes") {
        const auto all = subbit::read_json(fs::path(SUBBIT_REFERENCE_DEFAULT) / "tokenizers" / "cases.json");
        REQUIRE(all.at("cases").size() >= 80);
        for (const json& c : all.at("cases")) {
            json document = c;
            document["model"] = all.at("models").at(c.at("model").get<std::string>());
            document["model"].update(c.at("flags"));
            CAPTURE(c.dump().substr(0, 600));
            const tokenizer t(document, "cases.json");
            for (const json& text : c.at("texts"))
                check_text(t, text[0].get<std::string>(), text[1].get<ids_t>(), text[2]);
        }
    }

    TEST_CASE("the families' tokenizers give the reference ids and texts") {
        std::size_t found = 0;
        for (const auto& entry : fs::directory_iterator(subbit::testing::reference_dir() / "families")) {
            if (!fs::exists(entry.path() / "tokenizer_expected.json")) continue;
            ++found;
            CAPTURE(entry.path().string());
            const tokenizer t(entry.path() / "tokenizer.json");
            for (const json& c : subbit::read_json(entry.path() / "tokenizer_expected.json")) {
                const auto ids = c.at("ids").get<ids_t>();
                check_text(t, c.at("text").get<std::string>(), ids, c.at("decoded"));
                ids_t whole = t.around_text().before;
                whole.insert(whole.end(), ids.begin(), ids.end());
                whole.insert(whole.end(), t.around_text().after.begin(), t.around_text().after.end());
                CHECK(whole == c.at("ids_with_specials").get<ids_t>());
            }
        }
        REQUIRE(found >= 1);
    }
}
