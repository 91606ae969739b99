#include "program/demo_model.hpp"

#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/streams.hpp"

#include <subbit/io/json.hpp>

#include <fmt/format.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

namespace llama {

namespace fs = std::filesystem;

fs::path demo_model_directory() {
    if (const char* path = std::getenv("LLAMA_COMPRESS_DEMO_MODEL"); path && *path) return path;
    std::error_code unknown;
    const fs::path program = fs::read_symlink("/proc/self/exe", unknown);
    for (const fs::path& candidate :
         {fs::path(LLAMA_COMPRESS_DEMO_SOURCE), program.parent_path() / LLAMA_COMPRESS_DEMO_INSTALLED})
        if (fs::exists(candidate / "config.json")) return candidate;
    throw subbit::io_error("the demo model is neither in " LLAMA_COMPRESS_DEMO_SOURCE
                           " nor beside the program; --model names its directory");
}

namespace {

struct demo_row {
    std::string name;
    fs::path directory;
    double asked = 0, reached = 0;
    std::size_t bytes = 0;
    double perplexity = 0, seconds = 0;
};

struct demo_command {
    fs::path model, out = "demo";
    machine_options machine;

    void run();

  private:
    int threads_ = 0;

    demo_row compress_to(const std::string& name, const compress_options& options) const;
    double evaluate(const fs::path& directory) const;
    void generate(const demo_row& row) const;
};

std::size_t tensor_bytes(const fs::path& directory) {
    std::size_t sum = 0;
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.path().extension() == ".safetensors") sum += entry.file_size();
    return sum;
}

constexpr index demo_window = 128;

/// The tuned recipe, with as many windows and passes as a small model needs.
compress_options demo_options(double bits) {
    auto o = compress_options::tuned();
    o.bits = bits;
    o.windows = 64;
    o.window_tokens = demo_window;
    o.epochs = 6;
    o.distill_epochs = 4;
    return o;
}

/// "1.00 bits" -> "1.00-bits"
std::string folder_of(std::string name) {
    std::replace(name.begin(), name.end(), ' ', '-');
    return name;
}

/// Two binary paths: the same text and passes.
compress_options demo_path_options() {
    auto o = compress_options::rabit();
    const auto low_rank = demo_options(1.0);
    o.windows = low_rank.windows;
    o.window_tokens = low_rank.window_tokens;
    o.epochs = low_rank.epochs;
    o.distill_epochs = low_rank.distill_epochs;
    return o;
}

demo_row demo_command::compress_to(const std::string& name, const compress_options& options) const {
    compress_job job;
    job.model = model;
    job.text = model / "calibration.txt";
    job.out = out / folder_of(name);
    job.options = options;
    job.threads = threads_;
    job.replace = true;  // the demo's own folder
    const auto expected = estimate(job);
    fmt::print("compressing to {}, about {}\n", name, duration_text(expected.seconds));
    flush_output();
    console_progress progress(expected.plan);
    const auto start = job_clock::clock::now();
    const auto report = compress(job, progress);
    const auto& totals = report.at("totals");
    return {name,
            job.out,
            options.bits,
            totals.at("bits_per_weight").get<double>(),
            tensor_bytes(job.out),
            0,
            std::chrono::duration<double>(job_clock::clock::now() - start).count()};
}

double demo_command::evaluate(const fs::path& directory) const {
    const model_directory opened(directory);
    const auto windows = read_windows(opened.load_tokenizer(), model / "test.txt", demo_window);
    console_progress progress({{"perplexity", 1, -1}});
    return llama::perplexity<float>(subbit::cpu({.threads = threads_}), opened, windows, progress).perplexity;
}

/// A sample by the program's own command.
void demo_command::generate(const demo_row& row) const {
    fmt::print("\n{} continues:\n  ", row.name);
    flush_output();
    CLI::App app;
    add_generate(app);
    std::vector<std::string> words = {
        "generate",  row.directory.string(),  "--prompt", "Anna has a red", "--max-tokens",
        "48",        "--temperature",         "0.7",      "--seed",         "1",
        "--threads", std::to_string(threads_)};
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
    app.parse(std::move(words));
}

/// Throws unless perplexity rises as bits fall (within one percent), and every model still predicts the language.
void check(const std::vector<demo_row>& rows, double own, index vocabulary) {
    const auto fail = [](const demo_row& row, const std::string& expected) {
        throw subbit::value_error(
            fmt::format("demo: {} has a perplexity of {:.3f}, expected {}", row.name, row.perplexity, expected));
    };
    if (rows[0].perplexity < 0.98 * own || rows[0].perplexity > 1.2 * own)
        fail(rows[0], fmt::format("one near the grammar's {:.3f}", own));
    for (std::size_t i = 1; i < rows.size(); ++i)
        if (!(rows[i].perplexity > 0.99 * rows[i - 1].perplexity &&
              rows[i].perplexity < static_cast<double>(vocabulary)))
            fail(rows[i], fmt::format("more than the {:.3f} of {} and less than the {} of a guess",
                                      rows[i - 1].perplexity, rows[i - 1].name, vocabulary));
}

void demo_command::run() {
    if (model.empty()) model = demo_model_directory();
    const auto grammar = subbit::read_json(model / "grammar.json");
    const double own = grammar.at("test").at("perplexity").get<double>();
    threads_ = machine.thread_count();
    catch_interrupts();
    std::vector<demo_row> rows = {{"original", model, 16, 16, tensor_bytes(model)}};
    rows.push_back(compress_to("2 paths", demo_path_options()));
    for (const double target : {1.0, 0.55})
        rows.push_back(compress_to(fmt::format("{:.2f} bits", target), demo_options(target)));
    for (auto& row : rows)
        row.perplexity = evaluate(row.directory);
    for (const auto& row : rows) {
        generate(row);
        if (interrupted()) throw subbit::cancelled_error("stopped");
    }

    fmt::print("\n{:<16}{:>8}{:>10}{:>12}{:>13}{:>10}\n", "", "asked", "bits", "size", "perplexity", "seconds");
    for (const auto& row : rows) {
        const bool compressed = row.seconds > 0;
        fmt::print("{:<16}{:>8}{:>10.3f}{:>12}{:>13.3f}{:>10}\n", row.name,
                   compressed ? fmt::format("{:.2f}", row.asked) : "", row.reached, bytes_text(row.bytes),
                   row.perplexity, compressed ? fmt::format("{:.1f}", row.seconds) : "");
    }
    fmt::print("{:<16}{:>8}{:>10}{:>12}{:>13.3f}\n\n", "the grammar", "", "", "", own);
    for (std::size_t i = 1; i < rows.size(); ++i)
        fmt::print("picture  {}\n", (rows[i].directory / "report.svg").string());
    check(rows, own, model_directory(model).config().vocab_size);
}

}  // namespace

void add_demo(CLI::App& app) {
    auto command = std::make_shared<demo_command>();
    auto* c = app.add_subcommand(
        "demo", "Compress the program's demo model to two binary paths, 1.0 bit and 0.55 bits, and compare them");
    c->add_option("--out", command->out, "Directory for the compressed models")
        ->type_name("DIR")
        ->capture_default_str();
    c->add_option("--model", command->model,
                  "Directory of the demo model (default: LLAMA_COMPRESS_DEMO_MODEL, or else the program's own)")
        ->type_name("DIR");
    command->machine.add_to(*c);
    c->callback([command] { command->run(); });
}

}  // namespace llama
