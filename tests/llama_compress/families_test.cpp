// Every family through every command, and what becomes of tensors that a family does not know.
#include "generate/running_model.hpp"
#include "model/evaluation.hpp"
#include "program.hpp"
#include "tiny_model.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/safetensors.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <filesystem>
#include <string>
#include <vector>

using namespace llama;
using namespace llama::testing;
using nlohmann::json;
using subbit::safetensors_reader;
using subbit::testing::check_throws;
using subbit::testing::temporary_directory;
namespace fs = std::filesystem;

namespace {

/// A tiny model of each family; windows and contexts are longer than their sliding windows.
std::vector<tiny_shape> family_shapes() {
    const json slides = {{"sliding_window", 7}};
    json some_slide = slides;
    some_slide["layer_types"] = {"sliding_attention", "full_attention"};
    some_slide["query_pre_attn_scalar"] = 24;
    return {{.hidden = 128, .intermediate = 192, .model_type = "llama"},
            {.hidden = 128, .intermediate = 192, .model_type = "mistral", .changes = slides},
            {.hidden = 128, .intermediate = 192, .tied = false, .model_type = "qwen2"},
            {.hidden = 128, .intermediate = 192, .model_type = "qwen3", .changes = {{"head_dim", 40}}},
            {.hidden = 128, .intermediate = 192, .model_type = "phi3"},
            {.hidden = 128, .intermediate = 192, .model_type = "gemma3_text", .changes = some_slide}};
}

/// The scores of the token after the last one, by one pass over all tokens in double precision.
subbit::vector<double> scores_after(const model_directory& model, std::span<const std::int32_t> tokens) {
    const subbit::reference<double> backend;
    const auto outer = model.load_outer_layers<double>();
    const llama::index window = std::ssize(tokens);
    block_context<double> context(model.config(), window);
    subbit::matrix<double> X(window, model.config().hidden_size), normed(1, X.cols());
    outer.embed(backend, tokens, subbit::view(X));
    block_tape<double> tape;
    for (llama::index l = 0; l < model.config().num_hidden_layers; ++l)
        run_block(backend, model.load_block<double>(l, context), window, X, tape);
    subbit::vector<double> inverse_rms;
    rms_norm(backend, const_view(X).middle_rows(window - 1, 1), subbit::const_span(outer.final_norm),
             model.config().norm, subbit::view(normed), inverse_rms);
    return outer.head() * normed.transpose();
}

/// Runs the program, which must succeed; what it printed.
std::string run(const fs::path& folder, const std::vector<std::string>& arguments) {
    const auto result = run_program(folder, arguments);
    INFO(result.err);
    REQUIRE(result.status == 0);
    return result.out;
}

double perplexity_of(const temporary_directory& folder, const fs::path& model) {
    return json::parse(run(folder.path(), {"perplexity", model.string(), "--text", (folder / "text.txt").string(),
                                           "--context", "32", "--max-windows", "8", "--json"}))
        .at("perplexity");
}

/// Compresses the model, and sends the result through every other command.
void check_commands(const temporary_directory& folder, const fs::path& model, std::vector<std::string> options) {
    const auto out = folder / "out", dense = folder / "dense";
    std::vector<std::string> words = {"compress",
                                      model.string(),
                                      "--text",
                                      (folder / "text.txt").string(),
                                      "--out",
                                      out.string(),
                                      "--windows",
                                      "4",
                                      "--window-tokens",
                                      "32",
                                      "--iterations",
                                      "4",
                                      "--epochs",
                                      "1",
                                      "--distill-epochs",
                                      "1",
                                      "--threads",
                                      "2"};
    words.insert(words.end(), options.begin(), options.end());
    run(folder.path(), words);
    const double compressed = perplexity_of(folder, out);
    CHECK(compressed > 1);
    const auto sizes = json::parse(run(folder.path(), {"inspect", out.string(), "--json"}));
    CHECK(sizes.at("layers").size() == 14);
    run(folder.path(), {"generate", out.string(), "--prompt", "the river runs over", "--max-tokens", "20"});
    run(folder.path(), {"export", out.string(), "--out", dense.string()});
    CHECK(perplexity_of(folder, dense) == doctest::Approx(compressed).epsilon(0.01));
    const safetensors_reader original(model), exported(dense);
    CHECK(exported.names().size() == original.names().size());
    for (const auto& name : original.names()) {
        CAPTURE(name);
        REQUIRE(exported.contains(name));
        CHECK(exported.info(name).shape == original.info(name).shape);
        if (is_harmless_buffer(name)) CHECK(std::ranges::equal(exported.info(name).bytes, original.info(name).bytes));
    }
    fs::remove_all(out);
    fs::remove_all(dense);
}

}  // namespace

TEST_CASE("every family is compressed, evaluated, generated from, inspected and exported") {
    for (const auto& shape : family_shapes()) {
        CAPTURE(shape.model_type);
        const temporary_directory folder;
        folder.write("text.txt", tiny_text(2000));
        write_tiny_model(folder / "model", shape);
        check_commands(folder, folder / "model", {});
        check_commands(folder, folder / "model", {"--method", "rabit", "--bits", "2"});
    }
}

TEST_CASE("token by token, every family has the scores of one pass over the text") {
    const std::string text = tiny_text(70);
    for (const auto& shape : family_shapes()) {
        CAPTURE(shape.model_type);
        const temporary_directory folder;
        write_tiny_model(folder / "model", shape);
        const model_directory model(folder / "model");
        const auto tokens = model.load_tokenizer().encode(text);
        const subbit::cpu backend({.threads = 2});
        running_model running(backend, model, std::ssize(tokens));
        std::size_t taken = 0;
        for (const std::size_t piece : std::vector<std::size_t>{3, 1, 1, 20, 1, 30}) {
            const auto scores = running.next_scores(std::span(tokens).subspan(taken, piece));
            taken += piece;
            const auto expected = scores_after(model, std::span(tokens).first(taken));
            double worst = 0;
            for (llama::index i = 0; i < expected.size(); ++i)
                worst =
                    std::max(worst, std::abs(static_cast<double>(scores[static_cast<std::size_t>(i)]) - expected(i)));
            CHECK(worst < 1e-4 * expected.cwiseAbs().maxCoeff());
        }
    }
}

TEST_CASE(
    "a token's embedding is read from the file as a table would hold it, and must be finite and in the vocabulary") {
    const temporary_directory folder;
    write_tiny_model(folder / "model", {.tied = false});
    const std::string name = "model.embed_tokens.weight";
    std::vector<float> read(128), held(128);
    {
        const model_directory model(folder / "model");
        for (const auto format : {row_format::f32, row_format::bf16, row_format::int8}) {
            const auto table = model.load_embedding(subbit::cpu({.threads = 2}), format);
            for (const std::int32_t token : {0, 100, 256}) {
                model.read_embedding(token, format, read);
                table.read_embedding(token, model.config().embedding_scale, held);
                CHECK(read == held);
            }
        }
        CHECK_THROWS_AS(model.read_embedding(257, row_format::f32, read), subbit::value_error);
        CHECK_THROWS_AS(model.read_embedding(-1, row_format::f32, read), subbit::value_error);
    }
    const auto file = folder / "model" / "model.safetensors";
    std::string bytes = contents_of(file);
    {
        const subbit::safetensors_reader reader(file);
        const auto tensor = reader.info(name).bytes.subspan(0, 256);
        const auto at = bytes.find(std::string(reinterpret_cast<const char*>(tensor.data()), tensor.size()));
        REQUIRE(at != std::string::npos);
        bytes.replace(at, 16, std::string(16, '\xff'));
    }
    subbit::write_file_atomically(file, bytes);
    const model_directory model(folder / "model");
    CHECK_NOTHROW(model.read_embedding(1, row_format::int8, read));
    subbit::testing::check_throws<subbit::value_error>([&] { model.read_embedding(0, row_format::int8, read); },
                                                       {name, "finite"});
    subbit::testing::check_throws<subbit::value_error>(
        [&] { model.load_embedding(subbit::cpu({.threads = 2}), row_format::int8); }, {name, "finite"});
}

namespace {

/// Writes the model with tensors added; `add(file)`.
template <class Add>
void write_with(const fs::path& folder, const tiny_shape& shape, Add&& add) {
    write_tiny_model(folder, shape);
    subbit::safetensors_writer file;
    make_tiny_tensors(shape,
                      [&](const std::string& name, std::vector<llama::index> sizes, const std::vector<float>& values) {
                          file.add(name, std::move(sizes), std::span<const float>(values), subbit::dtype::f32);
                      });
    add(file);
    file.write(folder / "model.safetensors");
}

}  // namespace

TEST_CASE("a tensor that the model would not read is refused by name") {
    const temporary_directory folder;
    const std::vector<float> numbers(64, 0.5F);
    for (const std::string name :
         {"model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.q_norm.weight",
          "model.layers.2.mlp.up_proj.weight", "model.layers.0.mlp.experts.0.weight", "score.weight"}) {
        CAPTURE(name);
        write_with(folder / "model", {.hidden = 128, .intermediate = 192},
                   [&](auto& file) { file.add(name, {64}, std::span<const float>(numbers), subbit::dtype::f32); });
        check_throws<subbit::format_error>([&] { model_directory(folder / "model"); }, {name, "64", "llama"});
    }
}

TEST_CASE("a tied model may hold its head twice, but not another one") {
    const temporary_directory folder;
    const tiny_shape shape{.hidden = 128, .intermediate = 192};
    std::vector<float> embedding;
    make_tiny_tensors(shape, [&](const std::string& name, const auto&, const std::vector<float>& values) {
        if (name == "model.embed_tokens.weight") embedding = values;
    });
    const auto add = [&](auto& file) {
        file.add("lm_head.weight", {257, 128}, std::span<const float>(embedding), subbit::dtype::f32);
    };
    write_with(folder / "model", shape, add);
    CHECK_NOTHROW(model_directory(folder / "model"));
    embedding[3] += 1;
    write_with(folder / "model", shape, add);
    check_throws<subbit::format_error>([&] { model_directory(folder / "model"); },
                                       {"lm_head.weight", "tie_word_embeddings"});
}

TEST_CASE("buffers that other programs compute anew are carried along, whatever their type") {
    const temporary_directory folder;
    folder.write("text.txt", tiny_text(2000));
    const std::vector<std::int64_t> positions = {0, 1, 2};
    const std::vector<float> frequencies(8, 0.25F);
    write_with(folder / "model", {.hidden = 128, .intermediate = 192}, [&](auto& file) {
        file.add_lazily("model.embed_tokens.position_ids", subbit::dtype::i64, {3}, [&] {
            const auto bytes = std::as_bytes(std::span(positions));
            return std::vector<std::byte>(bytes.begin(), bytes.end());
        });
        file.add("model.layers.0.self_attn.rotary_emb.inv_freq", {8}, std::span<const float>(frequencies),
                 subbit::dtype::f32);
    });
    check_commands(folder, folder / "model", {});
}

TEST_CASE("layers that share a tensor are its rows, and go back to it") {
    const temporary_directory folder;
    const tiny_shape separate{.hidden = 128, .intermediate = 192};
    tiny_shape shared = separate;
    shared.model_type = "phi3";
    write_tiny_model(folder / "separate", separate);
    write_tiny_model(folder / "shared", shared);

    const std::vector<std::int32_t> tokens = {5, 40, 7, 256, 90};
    CHECK(scores_after(model_directory(folder / "shared"), tokens) ==
          scores_after(model_directory(folder / "separate"), tokens));
}
