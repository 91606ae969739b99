// `compress --method rabit` and what the other commands make of its result.
#include "program.hpp"
#include "tiny_model.hpp"

#include "../support/temporary_directory.hpp"

#include <subbit/io/json.hpp>
#include <subbit/io/safetensors.hpp>

#include <doctest/doctest.h>

using namespace llama::testing;
using subbit::testing::temporary_directory;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

/// One run of two paths, kept for all tests of this file.
struct path_run {
    temporary_directory folder;
    fs::path model = folder / "model", out = folder / "out", text = folder.write("text.txt", tiny_text(4000));
    json report;

    path_run() {
        write_tiny_model(model);
        const auto result = run({});
        INFO(result.err);
        REQUIRE(result.status == 0);
        report = subbit::read_json(out / "report.json");
    }
    outcome run(const std::vector<std::string>& more) const {
        std::vector<std::string> words = {"compress",
                                          model.string(),
                                          "--text",
                                          text.string(),
                                          "--out",
                                          out.string(),
                                          "--method",
                                          "rabit",
                                          "--windows",
                                          "8",
                                          "--epochs",
                                          "2",
                                          "--distill-epochs",
                                          "2",
                                          "--window-tokens",
                                          "48",
                                          "--probe-steps",
                                          "4"};
        words.insert(words.end(), more.begin(), more.end());
        return run_program(folder.path(), words);
    }
    double perplexity_of(const fs::path& directory) const {
        const auto result = run_program(folder.path(), {"perplexity", directory.string(), "--text", text.string(),
                                                        "--context", "48", "--max-windows", "12", "--json"});
        REQUIRE(result.status == 0);
        return json::parse(result.out).at("perplexity");
    }
};

path_run& sample() {
    static path_run once;
    return once;
}

void check_diagnostics(const json& probe) {
    for (std::size_t k = 0; k < 7; ++k) {
        const double error = probe.at("error").at(k);
        CHECK(error > 0);
        CHECK(probe.at("error_by_correlation").at(k).get<double>() == doctest::Approx(error).epsilon(1e-6));
        CHECK(probe.at("error_by_alignment").at(k).get<double>() == doctest::Approx(error).epsilon(1e-6));
        CHECK(probe.at("correlation").at(k).get<double>() < 0);
        CHECK(probe.at("alignment").at(k).get<double>() > 0.5);
    }
}

}  // namespace

TEST_CASE("two paths: the report says how they worked together, epoch by epoch and step by step") {
    const auto& report = sample().report;
    CHECK(report.at("blocks").size() == 2);
    for (const auto& block : report.at("blocks")) {
        REQUIRE(block.at("path_diagnostics").size() == 3);  // the start and two epochs
        for (const auto& probe : block.at("path_diagnostics"))
            check_diagnostics(probe);
        CHECK(block.at("block_error_after_tuning") < block.at("block_error_after_factorization"));
        for (const auto& layer : block.at("layers"))
            CHECK((layer.at("paths") == 2 && layer.at("rank") == 0));
    }
    const auto& probes = report.at("distillation_path_diagnostics");
    REQUIRE(probes.size() == 5);  // 0, 4, 8, 12, 16
    for (std::size_t i = 0; i < probes.size(); ++i) {
        CHECK(probes[i].at("step") == 4 * i);
        REQUIRE(probes[i].at("blocks").size() == 2);
        for (const auto& block : probes[i].at("blocks"))
            check_diagnostics(block);
    }
    const auto picture = contents_of(sample().out / "report.svg");
    CHECK(picture.find("correlation of the first with the second") != std::string::npos);
    CHECK(picture.find("nan") == std::string::npos);
}

TEST_CASE("two paths: perplexity, inspect, export, generate and a dry run agree") {
    auto& run = sample();
    const auto inspected = run_program(run.folder.path(), {"inspect", run.out.string(), "--json"});
    REQUIRE(inspected.status == 0);
    const auto sizes = json::parse(inspected.out);
    const double bits = run.report.at("totals").at("bits_per_weight");
    CHECK(bits > 2);
    CHECK(sizes.at("bits_per_weight").get<double>() == doctest::Approx(bits));
    CHECK(sizes.at("layers").at(0).at("paths") == 2);

    const auto dense = run.folder / "dense";
    REQUIRE(run_program(run.folder.path(), {"export", run.out.string(), "--out", dense.string()}).status == 0);
    CHECK(run.perplexity_of(dense) == doctest::Approx(run.perplexity_of(run.out)).epsilon(0.005));
    const auto generated = run_program(run.folder.path(), {"generate", run.out.string(), "--prompt", "the river",
                                                           "--max-tokens", "5", "--temperature", "0"});
    CHECK(generated.status == 0);

    const auto dry = run.run({"--dry-run", "--json"});
    REQUIRE(dry.status == 0);
    const auto estimate = json::parse(dry.out);
    CHECK(estimate.at("paths") == 2);
    CHECK(estimate.at("bits_per_weight").get<double>() == doctest::Approx(bits));
    CHECK(estimate.at("file_bytes").get<double>() ==
          doctest::Approx(run.report.at("totals").at("model_bytes").get<double>()).epsilon(0.03));
}

TEST_CASE("two paths: options that mean nothing are refused") {
    auto& run = sample();
    const auto refuses = [&](const std::vector<std::string>& more, const std::vector<std::string>& parts) {
        const auto result = run.run(more);
        CAPTURE(result.err);
        CHECK(result.status == 1);
        for (const auto& part : parts)
            CHECK(result.err.find(part) != std::string::npos);
    };
    refuses({"--bits", "0"}, {"--bits", "0"});
    refuses({"--bits", "2.5"}, {"--bits", "2.5", "1, 2, 3 or 4"});
    refuses({"--bits", "5"}, {"--bits", "5", "1, 2, 3 or 4"});
    refuses({"--coupling", "loose"}, {"--coupling", "loose", "independent"});
    refuses({"--matrix-optimizer", "sgd"}, {"--matrix-optimizer", "sgd", "muon"});
    refuses({"--rounds", "0"}, {"--rounds", "0"});
    refuses({"--distill-batch", "0"}, {"--distill-batch", "0"});
    refuses({"--method", "magic"}, {"--method", "magic", "rabit"});
}

TEST_CASE("one path and four, and a model whose weights are zero or all equal") {
    const temporary_directory folder;
    const auto text = folder.write("text.txt", tiny_text(3000));
    const auto compress = [&](const fs::path& model, const char* bits, const fs::path& out) {
        return run_program(folder.path(), {"compress", model.string(), "--text", text.string(), "--out", out.string(),
                                           "--method", "rabit", "--bits", bits, "--windows", "3", "--window-tokens",
                                           "32", "--epochs", "1", "--distill-epochs", "1"});
    };
    write_tiny_model(folder / "model");
    for (const char* bits : {"1", "4"}) {
        const auto result = compress(folder / "model", bits, folder / bits);
        CAPTURE(result.err);
        CHECK(result.status == 0);
    }
    tiny_shape shape;
    fs::create_directories(folder / "flat");
    subbit::write_file_atomically(folder / "flat" / "config.json", tiny_config(shape).dump(2));
    subbit::write_file_atomically(folder / "flat" / "tokenizer.json", byte_tokenizer().dump());
    subbit::safetensors_writer file;
    make_tiny_tensors(shape, [&](const std::string& name, std::vector<subbit::index> sizes, std::vector<float> values) {
        if (name.find("q_proj") != std::string::npos) std::fill(values.begin(), values.end(), 0.0F);
        if (name.find("up_proj") != std::string::npos) std::fill(values.begin(), values.end(), 0.01F);
        file.add(name, std::move(sizes), std::span<const float>(values), subbit::dtype::f32);
    });
    file.write(folder / "flat" / "model.safetensors");
    const auto result = compress(folder / "flat", "2", folder / "flat-out");
    CAPTURE(result.err);
    CHECK(result.status == 0);
}
