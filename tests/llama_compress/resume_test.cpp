// A run that is stopped at any moment and started again ends with the same bits, whatever the number of threads.
#include "program.hpp"
#include "tiny_model.hpp"

#include "../support/sanitized.hpp"
#include "../support/temporary_directory.hpp"

#include <subbit/core/random.hpp>
#include <subbit/io/json.hpp>

#include <doctest/doctest.h>
#include <set>
#include <vector>

using namespace llama::testing;
using subbit::testing::temporary_directory;
namespace fs = std::filesystem;

namespace {

// The sanitizers look at the way of the bits, not at the bits: there some runs stand for all.
constexpr bool one_of_many = subbit::testing::is_sanitized;

struct tiny_job {
    temporary_directory folder;
    fs::path model = folder / "model", text = folder.write("text.txt", tiny_text(4000));
    std::vector<std::string> more;

    explicit tiny_job(std::vector<std::string> options) : more(std::move(options)) { write_tiny_model(model); }

    std::vector<std::string> arguments(const fs::path& out, const std::vector<std::string>& changed = {}) const {
        std::vector<std::string> words = {
            "compress", model.string(),    "--text", text.string(),  "--out", out.string(), "--windows",
            "8",        "--window-tokens", "48",     "--iterations", "10",    "--epochs",   "2"};
        words.insert(words.end(), more.begin(), more.end());
        words.insert(words.end(), changed.begin(), changed.end());
        return words;
    }
    outcome run(const fs::path& out, const std::vector<std::string>& changed = {}) const {
        return run_program(folder.path(), arguments(out, changed));
    }
};

/// The run has ended well, with these bits, and nothing half-written.
void require_end(const outcome& run, const fs::path& out, const std::string& expected) {
    CAPTURE(run.err);
    REQUIRE(run.status == 0);
    CHECK(contents_of(out / "model.safetensors") == expected);
    CHECK(std::distance(fs::directory_iterator(out), fs::directory_iterator()) == 5);
}

void check_killed_runs(const tiny_job& job, std::uint64_t seed, const std::string& checkpoint = {}) {
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    REQUIRE(job.run(job.folder / "undisturbed").status == 0);
    double latest = 0.7 * std::chrono::duration<double>(clock::now() - start).count();
    const auto expected = contents_of(job.folder / "undisturbed" / "model.safetensors");
    const auto out = job.folder / "killed";

    // Whether the run was still at work after the wait. One that had ended is checked, and the next starts anew.
    const auto killed_after = [&](const auto& wait) {
        const running_program running(job.folder.path(), job.arguments(out));
        wait(running);
        running.signal(SIGKILL);
        const auto ended = running.wait();
        if (ended.status == 128 + SIGKILL) return true;
        require_end(ended, out, expected);
        fs::remove_all(out);
        return false;
    };
    const subbit::random_stream moments(seed);
    for (std::uint64_t attempt = 0, killed = 0; killed < 5; ++attempt) {
        const std::chrono::duration<double> moment(latest * moments.uniform(attempt));
        if (killed_after([&](const auto&) { std::this_thread::sleep_for(moment); }))
            ++killed;
        else
            latest /= 2;  // the machine was busier during the undisturbed run
    }
    if (!checkpoint.empty()) {  // in the middle of the distillation, which no random moment is sure to hit
        const auto file = out / "run" / checkpoint;
        for (int attempt = 0; !killed_after([&](const auto& running) { running.wait_for(file); }); ++attempt)
            REQUIRE(attempt < 10);
        CHECK(fs::exists(file));
    }
    require_end(job.run(out), out, expected);
}

}  // namespace

TEST_CASE("killed at any moment: the tuned recipe, latents distilled") {
    check_killed_runs(
        tiny_job({"--distill-epochs", "20", "--distill-latent-rate", "0.003", "--held-back", "0.2", "--threads", "2"}),
        1, "distillation.safetensors");
}

TEST_CASE("killed at any moment: the paper's recipe" * doctest::skip(one_of_many)) {
    check_killed_runs(tiny_job({"--recipe", "paper", "--granularity", "8", "--minimum-rank", "8", "--weight-epochs",
                                "1", "--distill-epochs", "10", "--threads", "1"}),
                      2);
}

TEST_CASE("killed at any moment: residual paths, coupled and with Muon, gathered windows, hidden states") {
    check_killed_runs(tiny_job({"--method", "rabit", "--distill-epochs", "30", "--distill-batch", "2", "--probe-steps",
                                "8", "--matrix-optimizer", "muon", "--distill-hidden-weight", "0.5", "--threads", "2"}),
                      3, "distillation.safetensors");
}

TEST_CASE("killed at any moment: measured ranks, 8-bit scales, a text that the original writes") {
    const tiny_job job({"--ranks", "model", "--scale-bits", "8", "--distill-text", "self", "--distill-windows", "4",
                        "--distill-epochs", "6", "--distill-window-tokens", "60", "--held-back", "0.3", "--threads",
                        "2"});
    check_killed_runs(job, 4);
    const auto report = subbit::read_json(job.folder / "undisturbed" / "report.json");
    CHECK(report.at("totals").at("bits_per_weight").get<double>() <= 1.0);
    CHECK(report.at("totals").at("bits_per_weight").get<double>() > 0.95);
    CHECK(report.at("rank_costs").at("losses").size() == 2);
    CHECK(report.at("distillation_curve").size() == 6);
    CHECK(report.at("distillation_held_back").size() == 7);
    CHECK(report.at("blocks").at(0).at("binary_tuning_held_back").size() == 3);
    std::set<std::vector<int>> ranks;
    for (const auto& block : report.at("blocks")) {
        std::vector<int> of_block;
        for (const auto& layer : block.at("layers"))
            of_block.push_back(layer.at("rank").get<int>());
        ranks.insert(of_block);
    }
    CHECK(ranks.size() == 2);  // two blocks of random weights do not cost the same
    REQUIRE(job.run(job.folder / "one", {"--threads", "1"}).status == 0);
    CHECK(contents_of(job.folder / "one" / "model.safetensors") ==
          contents_of(job.folder / "undisturbed" / "model.safetensors"));
}

TEST_CASE("residual paths: the number of threads changes no bit, the coupling does" * doctest::skip(one_of_many)) {
    const tiny_job job({"--method", "rabit", "--distill-epochs", "2"});
    const auto run = [&](const char* name, const std::vector<std::string>& options) {
        REQUIRE(job.run(job.folder / name, options).status == 0);
        return contents_of(job.folder / name / "model.safetensors");
    };
    const auto coupled = run("one", {"--threads", "1"});
    CHECK(run("two", {"--threads", "2"}) == coupled);
    const auto independent = run("independent", {"--coupling", "independent", "--threads", "1"});
    CHECK(independent != coupled);
    CHECK(run("again", {"--coupling", "independent", "--threads", "2"}) == independent);
    CHECK(run("greedy", {"--rounds", "1"}) != coupled);
    CHECK(run("plain", {"--precondition", "0"}) != coupled);
}

TEST_CASE("the number of threads changes no bit" * doctest::skip(one_of_many)) {
    const tiny_job job({"--distill-epochs", "2", "--distill-latent-rate", "0.003", "--distill-windows", "3",
                        "--distill-window-tokens", "70"});
    REQUIRE(job.run(job.folder / "one", {"--threads", "1"}).status == 0);
    REQUIRE(job.run(job.folder / "two", {"--threads", "2"}).status == 0);
    CHECK(contents_of(job.folder / "one" / "model.safetensors") ==
          contents_of(job.folder / "two" / "model.safetensors"));
    REQUIRE(job.run(job.folder / "other", {"--threads", "2", "--seed", "1"}).status == 0);
    CHECK(contents_of(job.folder / "one" / "model.safetensors") !=
          contents_of(job.folder / "other" / "model.safetensors"));
}

TEST_CASE("stopped by Ctrl-C: status 130, a word on how to go on, and the same end; other options are refused") {
    const tiny_job job({"--distill-epochs", "40", "--threads", "2"});
    const auto out = job.folder / "out";
    const running_program running(job.folder.path(), job.arguments(out));
    // Not before there is something to lose.
    running.wait_for(out / "run" / "block-0000.json");
    running.signal(SIGINT);
    const auto stopped = running.wait();
    CAPTURE(stopped.err);
    CHECK(stopped.status == 130);
    CHECK(stopped.err.find("the same command") != std::string::npos);
    CHECK(fs::exists(out / "run" / "block-0000.json"));
    CHECK(!fs::exists(out / "model.safetensors"));

    const auto refused = job.run(out, {"--epochs", "3", "--seed", "5"});
    CAPTURE(refused.err);
    CHECK(refused.status == 1);
    CHECK(refused.err.find("epochs: 2 there, 3 asked for") != std::string::npos);
    CHECK(refused.err.find("seed: 0 there, 5 asked for") != std::string::npos);

    REQUIRE(job.run(job.folder / "undisturbed").status == 0);
    require_end(job.run(out), out, contents_of(job.folder / "undisturbed" / "model.safetensors"));
}
