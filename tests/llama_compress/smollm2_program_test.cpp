// The whole pipeline on a real model. Needs a directory written by get_smollm2.sh (SUBBIT_SMOLLM2_DIR) and, for the
// numbers made outside this project, the WikiText-2 slices (SUBBIT_TEXT_DIR); skipped with a message where there are
// none.
#include "compress/compress.hpp"
#include "generate/running_model.hpp"
#include "model/evaluation.hpp"

#include "../support/reference.hpp"
#include "../support/temporary_directory.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/io/atomic_file.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/safetensors.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <filesystem>
#include <string>

namespace fs = std::filesystem;
using subbit::testing::directory_named_by;

TEST_CASE("SmolLM2's perplexity is that of the usual implementation" * doctest::test_suite("wikitext")) {
    const auto model = directory_named_by("SUBBIT_SMOLLM2_DIR"), texts = directory_named_by("SUBBIT_TEXT_DIR");
    if (model.empty() || texts.empty()) {
        MESSAGE("SKIPPED: set SUBBIT_SMOLLM2_DIR, and SUBBIT_TEXT_DIR to a directory with the WikiText-2 slices");
        return;
    }
    const llama::model_directory directory(model);
    const auto tokens = directory.load_tokenizer().encode_file(texts / "wikitext2_test_part1.txt");
    const subbit::cpu backend;
    subbit::progress quiet;
    const auto perplexity = [&](llama::index context, llama::index windows) {
        return llama::perplexity<float>(backend, directory, llama::split_windows(tokens, context, windows), quiet)
            .perplexity;
    };
    CHECK(perplexity(512, 32) == doctest::Approx(28.816).epsilon(0.002));
    CHECK(perplexity(2048, 8) == doctest::Approx(19.130).epsilon(0.002));

    // The most likely continuation of the first 64 tokens.
    const std::vector<std::int32_t> expected = {436, 39938, 281, 216, 34,   32,  32,   33,   1673, 909,   553,
                                                597, 6254,  281, 260, 4771, 378, 8095, 2250, 82,   21789, 1673};
    llama::running_model running(backend, directory, 128);
    auto scores = running.next_scores(std::span(tokens).first(64));
    std::vector<std::int32_t> made;
    while (made.size() < expected.size()) {
        made.push_back(static_cast<std::int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin()));
        scores = running.next_scores(std::span(made).last(1));
    }
    CHECK(made == expected);
}

TEST_CASE("one block of SmolLM2 is compressed within its bits" * doctest::test_suite("smollm2")) {
    const auto model = directory_named_by("SUBBIT_SMOLLM2_DIR");
    if (model.empty()) {
        MESSAGE("SKIPPED: set SUBBIT_SMOLLM2_DIR to a directory written by get_smollm2.sh");
        return;
    }
    // The model cut off after its first block.
    const subbit::testing::temporary_directory work;
    const fs::path cut = work / "model";
    fs::create_directory(cut);
    fs::copy_file(model / "tokenizer.json", cut / "tokenizer.json");
    const subbit::safetensors_reader whole(model);
    subbit::safetensors_writer first;
    for (const auto& name : whole.names()) {
        if (name.starts_with("model.layers.") && !name.starts_with("model.layers.0.")) continue;
        const auto& tensor = whole.info(name);
        first.add_lazily(name, tensor.type, tensor.shape,
                         [&tensor] { return std::vector<std::byte>(tensor.bytes.begin(), tensor.bytes.end()); });
    }
    first.write(cut / "model.safetensors");
    auto config = subbit::read_json(model / "config.json");
    config["num_hidden_layers"] = 1;
    subbit::write_file_atomically(cut / "config.json", config.dump());
    std::string text;
    for (int i = 0; i < 200; ++i)
        text += "Chapter " + std::to_string(i) + ". The river rose in the night, and by morning the " +
                std::to_string(7 * i % 31) + " boats had gone from the harbour wall. ";

    llama::compress_job job;
    job.model = cut;
    job.text = work.write("text.txt", text);
    job.out = work / "packed";
    job.options.windows = 8;
    job.options.window_tokens = 128;
    job.options.iterations = 20;
    job.options.epochs = 2;
    job.options.distill_epochs = 1;
    subbit::progress quiet;
    const auto report = llama::compress(job, quiet);

    CHECK(report["totals"]["bits_per_weight"].get<double>() <= 1.0);
    CHECK(report["totals"]["bits_per_weight"].get<double>() > 0.98);
    const auto& block = report["blocks"][0];
    CHECK(block["block_error_after_tuning"].get<double>() < block["block_error_after_factorization"].get<double>());
    for (const auto& layer : block["layers"]) {
        CAPTURE(layer["name"].get<std::string>());
        CHECK(layer["error_after_factorization"].get<double>() < 0.45);
    }
    const llama::model_directory packed(job.out);
    CHECK(packed.is_packed());
    const auto windows = llama::split_windows(packed.load_tokenizer().encode(text), 128, 4);
    const auto before = llama::perplexity<float>(subbit::cpu(), llama::model_directory(cut), windows, quiet);
    const auto after = llama::perplexity<float>(subbit::cpu(), packed, windows, quiet);
    CHECK(after.mean_loss < before.mean_loss + 1.0);
}
