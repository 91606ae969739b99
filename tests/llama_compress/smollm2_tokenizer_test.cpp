// The tokenizer of a real model, against ids made by another implementation. Needs a directory written by
// get_smollm2.sh, named by SUBBIT_SMOLLM2_DIR; skipped with a message where there is none.
#include "tokenizer/tokenizer.hpp"

#include <subbit/io/json.hpp>
#include <subbit/io/mapped_file.hpp>

#include "../support/reference.hpp"

#include <doctest/doctest.h>
#include <string>
#include <vector>

using subbit::testing::directory_named_by;

TEST_CASE("SmolLM2's tokenizer gives the reference ids" * doctest::test_suite("smollm2")) {
    const auto model = directory_named_by("SUBBIT_SMOLLM2_DIR");
    if (model.empty()) {
        MESSAGE("SKIPPED: set SUBBIT_SMOLLM2_DIR to a directory written by get_smollm2.sh");
        return;
    }
    const llama::tokenizer t(model / "tokenizer.json");
    CHECK(t.vocab_size() == 49152);
    CHECK(t.bos_id() == 1);
    CHECK(t.eos_id() == 2);
    const auto cases = subbit::read_json(subbit::testing::reference_dir() / "smollm2_tokenizer.json");
    REQUIRE(cases.size() >= 20);
    for (const auto& c : cases) {
        const auto text = c.at("text").get<std::string>();
        CAPTURE(text);
        const auto ids = t.encode(text);
        CHECK(ids == c.at("ids").get<std::vector<std::int32_t>>());
        CHECK(t.decode(ids) == text);
    }
}

TEST_CASE("SmolLM2's tokenizer gives the reference counts on WikiText-2" * doctest::test_suite("wikitext")) {
    const auto model = directory_named_by("SUBBIT_SMOLLM2_DIR"), texts = directory_named_by("SUBBIT_TEXT_DIR");
    if (model.empty() || texts.empty()) {
        MESSAGE("SKIPPED: set SUBBIT_SMOLLM2_DIR, and SUBBIT_TEXT_DIR to a directory with the WikiText-2 slices");
        return;
    }
    const llama::tokenizer t(model / "tokenizer.json");
    const auto ids_of = [&](const char* name) {
        const auto ids = t.encode_file(texts / name);
        const subbit::mapped_file file(texts / name);
        const auto bytes = file.bytes();
        CHECK(t.decode(ids) == std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
        return ids;
    };
    const auto test = ids_of("wikitext2_test_part1.txt");
    REQUIRE(test.size() == 148371);
    const std::vector<std::int32_t> first = {1116,  446,  6356, 389,  9226, 352, 446, 38028,
                                             16506, 6356, 389,  9226, 352,  314, 354, 2321};
    CHECK(std::vector<std::int32_t>(test.begin(), test.begin() + 16) == first);
    CHECK(ids_of("wikitext2_train_1mb.txt").size() == 231394);
}
