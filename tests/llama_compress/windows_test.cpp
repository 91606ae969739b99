// How a text becomes windows: where they lie, and what begins them.
#include "compress/options.hpp"
#include "model/evaluation.hpp"
#include "tiny_model.hpp"

#include <subbit/core/error.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <vector>

using llama::split_windows;
using llama::text_reading;
using llama::window_list;
using nlohmann::json;
using ids_t = std::vector<std::int32_t>;

namespace {

/// Bytes as tokens; `ids` begin a text.
llama::tokenizer beginning_with(const ids_t& ids) {
    json document = llama::testing::byte_tokenizer();
    document["post_processor"] = {{"type", "TemplateProcessing"},
                                  {"single", {{{"SpecialToken", {{"id", "first"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                                  {"special_tokens", {{"first", {{"ids", ids}}}}}};
    return {document, "tokenizer.json"};
}

}  // namespace

TEST_CASE("windows do not overlap, and the rest is dropped") {
    const ids_t tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    CHECK(split_windows(tokens, 4) == window_list{{1, 2, 3, 4}, {5, 6, 7, 8}});
    CHECK(split_windows(tokens, 4, 1) == window_list{{1, 2, 3, 4}});
    CHECK(split_windows(tokens, 12).empty());
}

TEST_CASE("windows to distill on follow the calibration's, or are the last of a text that is too short for both") {
    llama::compress_options o;
    o.windows = 10;
    o.window_tokens = 4;
    o.distill_windows = 6;
    o.distill_window_tokens = 8;
    CHECK(o.tokens_wanted() == 48);
    for (const auto& [tokens, first] : {std::pair{48, 0}, {50, 2}, {87, 39}, {88, 40}, {1000, 40}})
        CHECK(o.first_to_distill_on(tokens) == first);
    o.distill_windows = 2;
    CHECK(o.tokens_wanted() == 40);
    for (const auto& [tokens, first] : {std::pair{40, 24}, {55, 39}, {57, 40}})
        CHECK(o.first_to_distill_on(tokens) == first);
    o.distill_text = "self";
    CHECK(o.tokens_to_distill_on() == 0);
    CHECK(o.tokens_wanted() == 40);
}

TEST_CASE("the windows that are held back leave whole batches, where any are held back and a batch is left") {
    llama::compress_options o;
    o.held_back = 0.04;
    CHECK(o.held_back_of(256, 1) == 10);
    CHECK(o.held_back_of(256, 4) == 12);
    CHECK(o.held_back_of(16, 2) == 2);
    CHECK(o.held_back_of(17, 2) == 1);
    CHECK(o.held_back_of(13, 16) == 1);
    CHECK(o.held_back_of(3, 2) == 0);
    o.held_back = 0.9;
    CHECK(o.held_back_of(1, 1) == 0);
    CHECK(o.held_back_of(2, 2) == 1);
    o.windows = 15;
    o.batch = 4;
    o.held_back = 0.1;
    CHECK(o.windows_held_back() == 3);
    CHECK(o.windows_for_errors() == 3);
    o.distill_windows = 9;
    o.distill_batch = 4;
    CHECK(o.windows_held_back_in_distillation() == 1);
    o.distill_text = "self";  // beyond the windows that are learned from
    o.distill_batch = 2;
    CHECK(o.windows_held_back_in_distillation() == 1);
}

TEST_CASE("what begins each window pushes its last tokens out, and windows stay where they are") {
    const ids_t tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9}, one = {90}, two = {90, 91};
    CHECK(split_windows(tokens, 4, 0, one) == window_list{{90, 1, 2, 3}, {90, 5, 6, 7}});
    CHECK(split_windows(tokens, 4, 0, two) == window_list{{90, 91, 1, 2}, {90, 91, 5, 6}});
    subbit::testing::check_throws<subbit::value_error>([&] { split_windows(tokens, 3, 0, two); },
                                                       {"3 tokens", "too short", "2"});
}

TEST_CASE("the tokens of the post-processor begin each window, unless they are not wanted") {
    const subbit::testing::temporary_directory dir;
    const auto text = dir.write("text.txt", "abcdefgh");
    const auto bos = beginning_with({256}), none = beginning_with({}), several = beginning_with({256, 65});
    CHECK(read_windows(bos, text, 4) == window_list{{256, 'a', 'b', 'c'}, {256, 'e', 'f', 'g'}});
    CHECK(read_windows(bos, text, 4, 1, {.bos = false}) == window_list{{'a', 'b', 'c', 'd'}});
    CHECK(read_windows(none, text, 8) == window_list{{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}});
    CHECK(text_reading{}.bos_of(bos) == 256);
    CHECK(text_reading{.bos = false}.bos_of(bos).is_null());
    CHECK(text_reading{}.bos_of(none).is_null());
    CHECK(text_reading{}.bos_of(several) == json({256, 65}));
}

TEST_CASE("special tokens in a text are themselves, or text on request") {
    const subbit::testing::temporary_directory dir;
    const auto text = dir.write("text.txt", "ab<end>cdefg");
    const auto words = beginning_with({});
    CHECK(read_windows(words, text, 4, 1) == window_list{{'a', 'b', 256, 'c'}});
    CHECK(read_windows(words, text, 4, 1, {.specials = llama::special_tokens::plain_text}) ==
          window_list{{'a', 'b', '<', 'e'}});
}
