// The program as its users see it: every command on a tiny model, and one line for everything that can be wrong.
#include "compress/run_folder.hpp"
#include "model/evaluation.hpp"
#include "program_checks.hpp"
#include "tiny_model.hpp"

#include <subbit/backend/reference.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/safetensors.hpp>

#include "../support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <functional>
#include <limits>

using namespace llama::testing;
using nlohmann::json;
using subbit::testing::temporary_directory;
namespace fs = std::filesystem;

namespace {

/// A tiny model, a text, and one compressed model, made once for all tests that only look.
struct compressed_once {
    temporary_directory folder;
    fs::path model = folder / "model", text, out = folder / "out";
    json report;

    compressed_once() : text(folder.write("text.txt", tiny_text(4000))) {
        write_tiny_model(model, {.tied = false});
        const auto result = run_program(folder.path(), arguments(out));
        INFO(result.err);
        REQUIRE(result.status == 0);
        report = subbit::read_json(out / "report.json");
    }

    /// A quick run's command line.
    std::vector<std::string> arguments(const fs::path& to, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> words = {"compress",
                                          model.string(),
                                          "--text",
                                          text.string(),
                                          "--out",
                                          to.string(),
                                          "--windows",
                                          "6",
                                          "--window-tokens",
                                          "48",
                                          "--iterations",
                                          "10",
                                          "--epochs",
                                          "2",
                                          "--distill-epochs",
                                          "2",
                                          "--threads",
                                          "2"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
};

compressed_once& sample_run() {
    static compressed_once once;
    return once;
}

/// Of the first 12 windows of 48 tokens.
double perplexity_of(const fs::path& model) {
    auto& run = sample_run();
    const auto result = run_program(run.folder.path(), {"perplexity", model.string(), "--text", run.text.string(),
                                                        "--context", "48", "--max-windows", "12", "--json"});
    INFO(result.err);
    REQUIRE(result.status == 0);
    return json::parse(result.out).at("perplexity");
}

}  // namespace

TEST_CASE("compress writes a model, a report and its picture, and leaves nothing else") {
    auto& run = sample_run();
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(run.out))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    CHECK(names ==
          std::vector<std::string>{"config.json", "model.safetensors", "report.json", "report.svg", "tokenizer.json"});
    CHECK(run.report.at("blocks").size() == 2);
    CHECK(run.report.at("totals").at("bits_per_weight").get<double>() <= 1.0);
    CHECK(run.report.at("totals").at("model_bytes") == fs::file_size(run.out / "model.safetensors"));
    const auto picture = contents_of(run.out / "report.svg");
    CHECK(picture.starts_with("<svg"));
    CHECK(picture.find("self_attn.q_proj") != std::string::npos);
    CHECK(picture.find("nan") == std::string::npos);
}

TEST_CASE("a dry run says what will come out, and writes nothing") {
    auto& run = sample_run();
    const auto out = run.folder / "dry";
    const auto result = run_program(run.folder.path(), run.arguments(out, {"--dry-run", "--json"}));
    REQUIRE(result.status == 0);
    const auto estimate = json::parse(result.out);
    CHECK(!fs::exists(out));
    CHECK(estimate.at("bits_per_weight").get<double>() ==
          doctest::Approx(run.report.at("totals").at("bits_per_weight").get<double>()));
    const auto bytes = run.report.at("totals").at("model_bytes").get<double>();
    CHECK(estimate.at("file_bytes").get<double>() == doctest::Approx(bytes).epsilon(0.02));
    CHECK(estimate.at("seconds").get<double>() > 0);
    for (const auto& layer : run.report.at("blocks").at(0).at("layers"))
        CHECK(estimate.at("ranks").at(layer.at("name").get<std::string>()) == layer.at("rank"));
}

TEST_CASE("perplexity is the same from the program and from the reference backend") {
    auto& run = sample_run();
    const llama::model_directory model(run.model);
    const auto tokens = model.load_tokenizer().encode(contents_of(run.text));
    subbit::progress quiet;
    const auto expected =
        llama::perplexity<double>(subbit::reference<double>(), model, llama::split_windows(tokens, 48, 12), quiet);
    CHECK(perplexity_of(run.model) == doctest::Approx(expected.perplexity).epsilon(1e-4));
    CHECK(perplexity_of(run.out) != doctest::Approx(expected.perplexity).epsilon(1e-3));
}

TEST_CASE("texts begin as the tokenizer says, and reports say how") {
    auto& run = sample_run();
    CHECK(run.report.at("bos").is_null());
    temporary_directory folder;
    const auto model = folder / "model", out = folder / "out";
    fs::copy(run.model, model);
    auto words = subbit::read_json(model / "tokenizer.json");
    words["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "special_tokens": {"<end>": {"ids": [256]}},
        "single": [{"SpecialToken": {"id": "<end>"}}, {"Sequence": {"id": "A"}}]})");
    subbit::write_file_atomically(model / "tokenizer.json", words.dump());
    const auto evaluate = [&](const std::vector<std::string>& more) {
        std::vector<std::string> line = {"perplexity", model.string(),  "--text", run.text.string(), "--context",
                                         "48",         "--max-windows", "12",     "--json"};
        line.insert(line.end(), more.begin(), more.end());
        const auto result = run_program(folder.path(), line);
        INFO(result.err);
        REQUIRE(result.status == 0);
        return json::parse(result.out);
    };
    const auto with_bos = evaluate({}), without = evaluate({"--no-bos"});
    CHECK(with_bos.at("bos") == 256);
    CHECK(without.at("bos").is_null());
    CHECK(without.at("perplexity") == perplexity_of(run.model));
    CHECK(with_bos.at("perplexity") != without.at("perplexity"));

    const auto prefill = [&](const std::vector<std::string>& more) {
        std::vector<std::string> line = {"generate", model.string(), "--prompt", "abc", "--max-tokens", "1"};
        line.insert(line.end(), more.begin(), more.end());
        return run_program(folder.path(), line).err;
    };
    CHECK(prefill({}).find("prefill 4 tokens") != std::string::npos);
    CHECK(prefill({"--no-bos"}).find("prefill 3 tokens") != std::string::npos);

    // A run begun without BOS is another run.
    const auto line = [&](const std::vector<std::string>& more) {
        auto arguments = run.arguments(out, more);
        arguments[1] = model.string();
        return arguments;
    };
    const auto first = run_program(folder.path(), line({"--keep-run"}));
    INFO(first.err);
    REQUIRE(first.status == 0);
    CHECK(subbit::read_json(out / "report.json").at("bos") == 256);
    check_fails(line({"--no-bos"}), 1, {"another run", "bos: true there, false asked for"});
}

TEST_CASE("an exported model is dense BF16 and has the perplexity of the compressed one") {
    auto& run = sample_run();
    const auto dense = run.folder / "dense";
    REQUIRE(run_program(run.folder.path(), {"export", run.out.string(), "--out", dense.string()}).status == 0);
    const subbit::safetensors_reader original(run.model), exported(dense);
    CHECK(exported.names().size() == original.names().size());
    for (const auto& name : original.names()) {
        CAPTURE(name);
        REQUIRE(exported.contains(name));
        CHECK(exported.info(name).type == subbit::dtype::bf16);
        CHECK(exported.info(name).shape == original.info(name).shape);
    }
    CHECK(subbit::read_json(dense / "config.json").at("torch_dtype") == "bfloat16");
    CHECK(fs::exists(dense / "tokenizer.json"));
    CHECK(perplexity_of(dense) == doctest::Approx(perplexity_of(run.out)).epsilon(0.005));

    check_fails({"export", run.out.string(), "--out", dense.string()}, 1, {"dense", "there already"});
}

TEST_CASE("inspect counts what the report says") {
    auto& run = sample_run();
    const auto result = run_program(run.folder.path(), {"inspect", run.out.string(), "--json"});
    REQUIRE(result.status == 0);
    const auto sizes = json::parse(result.out);
    CHECK(sizes.at("layers").size() == 14);
    CHECK(sizes.at("bits_per_weight").get<double>() ==
          doctest::Approx(run.report.at("totals").at("bits_per_weight").get<double>()));
    CHECK(sizes.at("file_bytes") == run.report.at("totals").at("model_bytes"));
    const subbit::safetensors_reader original(run.model);
    std::size_t parameters = 0;
    for (const auto& name : original.names())
        parameters += original.info(name).bytes.size() / 4;
    CHECK(sizes.at("dense_bf16_bytes") == 2 * parameters);
    CHECK(run_program(run.folder.path(), {"inspect", run.model.string()}).status == 0);
}

TEST_CASE("generate with a cache says what passes over the whole text say") {
    auto& run = sample_run();
    const std::string prompt = "the river ";
    for (const auto& path : {run.model, run.out}) {
        CAPTURE(path.string());
        const llama::model_directory model(path);
        const subbit::reference<double> backend;
        const auto outer = model.load_outer_layers<double>();
        auto tokens = model.load_tokenizer().encode(prompt);
        for (int step = 0; step < 8; ++step) {
            llama::block_context<double> context(model.config(), std::ssize(tokens));
            subbit::matrix<double> X(std::ssize(tokens), model.config().hidden_size);
            outer.embed(backend, tokens, subbit::view(X));
            llama::block_tape<double> tape;
            for (llama::index l = 0; l < model.config().num_hidden_layers; ++l)
                llama::run_block(backend, model.load_block<double>(l, context), std::ssize(tokens), X, tape);
            subbit::vector<double> last = X.row(X.rows() - 1).transpose();
            last *= 1 / std::sqrt(last.squaredNorm() / static_cast<double>(last.size()) + model.config().norm.eps);
            const subbit::vector<double> scores = outer.head() * last.cwiseProduct(outer.final_norm);
            llama::index best = 0;
            scores.maxCoeff(&best);
            if (best == 256) break;  // the end
            tokens.push_back(static_cast<std::int32_t>(best));
        }
        const auto result = run_program(
            run.folder.path(), {"generate", path.string(), "--prompt", prompt, "--max-tokens", "8", "--head", "f32"});
        REQUIRE(result.status == 0);
        CHECK(result.out == model.load_tokenizer().decode(tokens) + "\n");
        CHECK(result.err.find("prefill 10 tokens") != std::string::npos);
        CHECK(result.err.find("tokens/s") != std::string::npos);
    }
}

TEST_CASE("info says which implementation runs") {
    const temporary_directory folder;
    const auto result = run_program(folder.path(), {"info", "--json", "--threads", "2"});
    REQUIRE(result.status == 0);
    const auto info = json::parse(result.out);
    CHECK(info.at("backend") == "cpu");
    CHECK(info.at("threads") == 2);
    CHECK(!info.at("instructions").get<std::string>().empty());
}

TEST_CASE("compress on CUDA runs, or one line says what is missing") {
    auto& run = sample_run();
    const auto out = run.folder / "on-cuda";
    const auto result = run_program(run.folder.path(), run.arguments(out, {"--backend", "cuda"}));
    if (result.status == 0) {
        CHECK(fs::exists(out / "model.safetensors"));
    } else {
        check_fails(run.arguments(out, {"--backend", "cuda"}), 1, {"cuda"});
        CHECK(!fs::exists(out / "model.safetensors"));
    }
}

TEST_CASE("words and numbers that no option knows") {
    auto& run = sample_run();
    const auto out = run.folder / "never";
    const auto refuses = [&](const std::vector<std::string>& more, int status, const std::vector<std::string>& parts) {
        check_fails(run.arguments(out, more), status, parts);
        CHECK(!fs::exists(out));
    };
    refuses({"--no-such-option"}, 2, {"--no-such-option"});
    refuses({"--recipe", "best"}, 2, {"--recipe", "best"});
    refuses({"--preset", "day"}, 2, {"--preset", "day"});
    refuses({"--backend", "abacus"}, 2, {"--backend", "abacus"});
    refuses({"--bits", "one"}, 2, {"--bits", "one"});
    refuses({"--solver", "guess"}, 1, {"--solver", "guess", "improved"});
    refuses({"--order", "random"}, 1, {"--order", "random", "joint"});
    refuses({"--ranks", "odd"}, 1, {"--ranks", "odd", "uneven"});
    refuses({"--clipping", "hard"}, 1, {"--clipping", "hard", "online"});
    refuses({"--schedule", "flat"}, 1, {"--schedule", "flat", "linear"});
    refuses({"--estimator", "none"}, 1, {"--estimator", "none", "identity"});
    refuses({"--importance", "all"}, 1, {"--importance", "all", "output"});
    refuses({"--products", "f8"}, 1, {"--products", "f8", "bf16"});
    refuses({"--epochs", "-1"}, 1, {"--epochs", "-1"});
    refuses({"--scales", "4"}, 1, {"--scales", "4", "2 or 3"});
    refuses({"--iterations", "0"}, 1, {"--iterations", "0"});
    refuses({"--bits", "0.05"}, 1, {"0.05", "bits"});
    refuses({"--bits", "nan"}, 1, {"--bits", "nan"});
    refuses({"--keep", "1.5"}, 1, {"--keep", "1.5"});
    refuses({"--window-tokens", "5000"}, 1, {"text.txt", "4000 tokens", "expected at least"});
    refuses({"--distill-windows", "1000"}, 1, {"text.txt", "4000 tokens", "expected at least"});
    refuses({"--distill-windows", "1", "--distill-window-tokens", "4100"}, 1, {"text.txt", "4000 tokens", "1 of 4100"});
    refuses({"--distill-windows", "1", "--distill-window-tokens", "1"}, 1, {"--distill-window-tokens is 1"});
    check_fails({}, 2, {"subcommand"});
    check_fails({"perplexity", run.model.string(), "--text", run.text.string(), "--context", "4001"}, 1,
                {"text.txt", "4000 tokens", "4001"});
    check_fails({"perplexity", run.model.string(), "--text", (run.folder / "none.txt").string()}, 1, {"none.txt"});
    check_fails({"perplexity", (run.folder / "nowhere").string(), "--text", run.text.string()}, 1,
                {"there is no folder", "nowhere"});
    check_fails({"generate", run.model.string(), "--prompt", "x", "--top-p", "2"}, 2, {"--top-p"});
    check_fails({"generate", run.model.string(), "--prompt", "x", "--head", "int4"}, 2, {"--head", "int4"});
}

TEST_CASE("models that are not what they should be") {
    const temporary_directory folder;
    const auto text = folder.write("text.txt", tiny_text(1000));
    const auto model = folder / "model", out = folder / "out";
    const auto compress_fails = [&](const std::vector<std::string>& parts) {
        check_fails({"compress", model.string(), "--text", text.string(), "--out", out.string(), "--windows", "2",
                     "--window-tokens", "32", "--iterations", "2", "--epochs", "1", "--distill-epochs", "0"},
                    1, parts);
        check_nothing_written(out);
        fs::remove_all(out);
    };
    using tensor_change = std::function<bool(const std::string&, std::vector<llama::index>&, std::vector<float>&)>;
    const auto rewrite = [&](const tensor_change& change) {
        subbit::safetensors_writer file;
        make_tiny_tensors({}, [&](const std::string& name, std::vector<llama::index> shape, std::vector<float> values) {
            if (change(name, shape, values)) file.add(name, shape, std::span<const float>(values), subbit::dtype::f32);
        });
        file.write(model / "model.safetensors");
    };
    write_tiny_model(model);
    const std::string up = "model.layers.1.mlp.up_proj.weight";

    rewrite([&](const std::string& name, auto&, auto&) { return name != up; });
    compress_fails({up});
    rewrite([&](const std::string& name, auto& shape, auto&) {
        if (name == up) std::swap(shape[0], shape[1]);
        return true;
    });
    compress_fails({up, "128x192", "192x128"});
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        rewrite([&](const std::string& name, auto&, auto& values) {
            if (name == up) values[17] = bad;
            return true;
        });
        compress_fails({up, "finite"});
    }
    for (const std::string name :
         {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight"}) {
        rewrite([&](const std::string& n, auto&, auto& values) {
            if (n == name) values[5] = std::numeric_limits<float>::quiet_NaN();
            return true;
        });
        compress_fails({name, "finite"});
    }

    write_tiny_model(model);
    fs::resize_file(model / "model.safetensors", fs::file_size(model / "model.safetensors") - 100);
    compress_fails({"model.safetensors"});
    fs::resize_file(model / "model.safetensors", 5);
    compress_fails({"model.safetensors"});
    fs::remove(model / "model.safetensors");
    compress_fails({"model.safetensors"});

    write_tiny_model(model);
    auto config = tiny_config({});
    config["model_type"] = "mamba";
    subbit::write_file_atomically(model / "config.json", config.dump());
    compress_fails({"config.json", "model_type", "mamba"});
    subbit::write_file_atomically(model / "config.json", "{\"model_type\": \"llama\",");
    compress_fails({"config.json"});

    write_tiny_model(model);
    subbit::write_file_atomically(model / "tokenizer.json", "{}");
    compress_fails({"tokenizer.json"});
    write_tiny_model(model);
    folder.write("text.txt", "\xff\xfe not UTF-8 at all, and long enough for two windows of the size asked for....");
    compress_fails({"text.txt", "UTF-8"});
}

TEST_CASE("a test text that cannot be scored stops the run before it starts") {
    auto& run = sample_run();
    const auto out = run.folder / "untested";
    const auto with_test_text = [&](const fs::path& text) {
        return run.arguments(out, {"--test-text", text.string(), "--test-context", "64"});
    };
    check_fails(with_test_text(run.folder / "nowhere.txt"), 1, {"nowhere.txt"});
    check_fails(with_test_text(run.folder.write("short.txt", "Too short.")), 1, {"short.txt", "64"});
    CHECK_FALSE(fs::exists(out));
}

TEST_CASE("output directories that cannot be written") {
    auto& run = sample_run();
    run.folder.write("file", "");
    check_fails(run.arguments(run.folder / "file" / "out"), 1, {"file"});

    const auto busy = run.folder / "busy";
    fs::create_directories(busy);
    {
        const llama::folder_lock lock(busy);
        check_fails(run.arguments(busy), 1, {"busy", "another run"});
    }
    check_fails(
        [&] {
            auto words = run.arguments(run.folder / "again");
            words[1] = run.out.string();
            return words;
        }(),
        1, {"compressed already"});
    CHECK(!fs::exists(run.folder / "again"));
}

TEST_CASE("a full disk: one line, nothing half-written, and the run goes on where there is room") {
    auto& run = sample_run();
    const auto out = run.folder / "full";
    for (const rlim_t limit : {rlim_t{2000}, rlim_t{30000}, rlim_t{100000}}) {
        // The limit on the size of files stands for the disk; the program inherits it.
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        const rlimit tight{limit, before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
        const running_program running(run.folder.path(), run.arguments(out));
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
        const auto result = running.wait();
        CAPTURE(limit);
        CAPTURE(result.err);
        CHECK(result.status == 1);
        CHECK(result.err.starts_with("llama_compress: cannot write"));
        CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
        check_nothing_written(out);
    }
    REQUIRE(run_program(run.folder.path(), run.arguments(out)).status == 0);
    CHECK(contents_of(out / "model.safetensors") == contents_of(run.out / "model.safetensors"));
}
