// The model that comes with the program: it loads, and it has learned the language whose entropy is known.
#include <model/evaluation.hpp>
#include <program/demo_model.hpp>
#include <subbit/backend/cpu.hpp>
#include <subbit/io/json.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <string>

namespace {

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("the demo model predicts its language nearly as well as the grammar itself") {
    const auto directory = llama::demo_model_directory();
    const llama::model_directory model(directory);
    const auto words = model.load_tokenizer();
    const std::string text = read_text(directory / "test.txt");
    const auto tokens = words.encode(text);
    const auto grammar = subbit::read_json(directory / "grammar.json")["test"];

    CHECK(grammar["bytes"] == text.size());
    CHECK(grammar["tokens"] == tokens.size());
    const double own = std::exp(grammar["nats"].get<double>() / static_cast<double>(tokens.size()));
    CHECK(grammar["perplexity"].get<double>() == doctest::Approx(own));
    CHECK(words.decode(tokens) == text);

    subbit::progress quiet;
    const auto result = llama::perplexity<float>(subbit::cpu(), model, llama::split_windows(tokens, 128, 40), quiet);
    CHECK(result.perplexity < 1.10 * own);
    CHECK(result.perplexity > 0.90 * own);
}

TEST_CASE("the demo model and its texts are small") {
    std::uintmax_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(llama::demo_model_directory()))
        bytes += entry.file_size();
    CHECK(bytes < 4'000'000);
}
