// Texts that are continued together are those that would be continued alone.
#include "sample/batch_sampler.hpp"

#include "generate/running_model.hpp"
#include "program.hpp"
#include "tiny_model.hpp"

#include "../support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

using namespace llama;
using namespace llama::testing;
using subbit::testing::temporary_directory;

namespace {

const subbit::cpu two_threads({.threads = 2});

window_list three_beginnings() {
    return {{'a'}, {'b', 'c', 'd'}, {'x', 'y'}};
}

/// The same by a model that continues one text.
std::vector<std::int32_t> alone(const model_directory& model, std::vector<std::int32_t> text, llama::index length) {
    running_model<subbit::cpu> running(two_threads, model, length);
    sampler choice({}, subbit::random_stream(0));
    auto scores = running.next_scores(text);
    while (std::ssize(text) < length) {
        const std::int32_t token = choice.pick(scores.first(256), 0);  // token 256 ends a text
        text.push_back(token);
        scores = running.next_scores(std::span(&token, 1));
    }
    return text;
}

}  // namespace

TEST_CASE("the most likely tokens of several texts are those of each alone, for every family") {
    for (const char* family : {"llama", "qwen3", "mistral"}) {
        CAPTURE(family);
        const temporary_directory folder;
        nlohmann::json changes = nlohmann::json::object();
        if (std::string(family) == "mistral") changes["sliding_window"] = 8;
        write_tiny_model(folder / "model", {.model_type = family, .changes = changes});
        const model_directory model(folder / "model");
        batch_sampler<subbit::cpu> together(two_threads, model, 30, ids_not_to_sample(model, model.load_tokenizer()));
        const auto texts = together.run(three_beginnings(), {}, 0);
        for (std::size_t i = 0; i < 3; ++i)
            CHECK(texts[i] == alone(model, three_beginnings()[i], 30));
    }
}

TEST_CASE("a seed gives the same texts, however many there are and whatever the threads; none ends early") {
    const temporary_directory folder;
    write_tiny_model(folder / "model", {});
    const model_directory model(folder / "model");
    const auto without = ids_not_to_sample(model, model.load_tokenizer());
    CHECK(without == std::vector<std::size_t>{256});
    const subbit::cpu one({.threads = 1});
    batch_sampler<subbit::cpu> wide(two_threads, model, 25, without), narrow(one, model, 25, without);
    const window_list many(140, {'q'});  // in two groups
    const auto texts = wide.run(many, {.temperature = 1}, 5);
    CHECK(narrow.run({many.begin(), many.begin() + 3}, {.temperature = 1}, 5) ==
          window_list(texts.begin(), texts.begin() + 3));
    CHECK(texts[0] != texts[1]);
    CHECK(texts[1] != texts[129]);
    CHECK(wide.run(many, {.temperature = 1}, 6) != texts);
    for (const auto& text : texts) {
        CHECK(text.size() == 25);
        CHECK(std::ranges::find(text, 256) == text.end());
    }
}

TEST_CASE("texts are continued together as far as their keys and values have room") {
    model_config shape;  // SmolLM2-135M's
    shape.num_hidden_layers = 30;
    shape.num_key_value_heads = 3;
    shape.head_dim = 64;
    shape.blocks.resize(30);
    CHECK(texts_at_once(shape, 512) == 91);
    CHECK(texts_at_once(shape, 64) == 128);
    CHECK(texts_at_once(shape, 8192) == 16);
}

TEST_CASE("sample writes a text that compress can distill on") {
    const temporary_directory folder;
    write_tiny_model(folder / "model", {});
    const auto prompts = folder.write("prompts.txt", tiny_text(2000));
    const std::vector<std::string> arguments = {"sample",    (folder / "model").string(),
                                                "--out",     (folder / "own.txt").string(),
                                                "--prompts", prompts.string(),
                                                "--tokens",  "1500",
                                                "--length",  "50"};
    const auto made = run_program(folder.path(), arguments);
    CAPTURE(made.err);
    REQUIRE(made.status == 0);
    CHECK(made.out.find("30 texts of 50 tokens") != std::string::npos);
    const auto text = contents_of(folder / "own.txt");
    CHECK(text.size() >= 1500);
    CHECK(text.starts_with(tiny_text(2000).substr(0, 8)));
    run_program(folder.path(), arguments);
    CHECK(contents_of(folder / "own.txt") == text);

    const auto compress = [&](const std::vector<std::string>& more) {
        std::vector<std::string> words = {"compress",
                                          (folder / "model").string(),
                                          "--text",
                                          prompts.string(),
                                          "--out",
                                          (folder / "out").string(),
                                          "--windows",
                                          "6",
                                          "--window-tokens",
                                          "48",
                                          "--iterations",
                                          "10",
                                          "--epochs",
                                          "1",
                                          "--distill-epochs",
                                          "3",
                                          "--distill-windows",
                                          "8",
                                          "--distill-window-tokens",
                                          "60"};
        words.insert(words.end(), more.begin(), more.end());
        return run_program(folder.path(), words);
    };
    const auto short_text = compress({"--distill-text", (folder / "own.txt").string(), "--distill-epochs", "10"});
    CHECK(short_text.status == 1);
    CHECK(short_text.err.find("own.txt") != std::string::npos);
    CHECK(short_text.err.find("expected 80 windows of 60") != std::string::npos);
    const auto done = compress({"--distill-text", (folder / "own.txt").string()});
    CAPTURE(done.err);
    CHECK(done.status == 0);
    CHECK(compress({"--distill-text", "nowhere.txt"}).err.find("nowhere.txt") != std::string::npos);
}
