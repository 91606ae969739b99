#include "compress/compress.hpp"
#include "compress/ignored_options.hpp"
#include "compress/output_folder.hpp"
#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/ranks.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"

#include <fmt/format.h>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace llama {

namespace {

struct compress_command {
    compress_job job;
    machine_options machine;
    std::string recipe, preset, test_text;
    bool dry_run = false, json = false, verbose = false;
    std::set<std::string> given;  // options of the command line

    void run();
    void note(const compress_estimate& expected) const;
};

nlohmann::json to_json(const compress_estimate& e) {
    nlohmann::json ranks;
    for (std::size_t k = 0; k < layer_count; ++k)
        ranks[e.layers[k]] = e.ranks[k];
    return {{"seconds", e.seconds},
            {"memory_bytes", e.memory_bytes},
            {"disk_bytes", e.disk_bytes},
            {"bits_per_weight", e.bits_per_weight},
            {"file_bytes", e.file_bytes},
            {"ranks", ranks},
            {"paths", e.paths},
            {"gflops", e.gflops},
            {"text_tokens", e.text_tokens},
            {"calibration_windows", e.calibration_windows},
            {"distillation_windows", e.distillation_windows}};
}

std::string to_text(const compress_estimate& e, const compress_job& job) {
    std::string ranks = e.paths > 0 ? fmt::format("{} of every layer", e.paths) : "";
    for (std::size_t k = 0; k < layer_count && e.paths == 0; ++k)
        ranks += fmt::format("{}{} {}", k == 0 ? "" : ", ", e.layers[k].substr(e.layers[k].find('.') + 1), e.ranks[k]);
    std::string windows = fmt::format("{} windows of {} tokens", e.calibration_windows, job.options.window_tokens);
    if (e.distillation_windows > 0)
        windows += fmt::format(", {} of {} to distill on", e.distillation_windows, job.options.distillation_length());
    const auto& o = job.options;
    std::string ranks_line;
    if (job.ranks > 1) {
        const std::int64_t tune = std::min<std::int64_t>(job.ranks, o.batch);
        const std::int64_t distill = std::min<std::int64_t>(job.ranks, o.distill_batch);
        ranks_line = fmt::format(
            "{:<8}{} ranks, {} here; {} of them tune a block and {} distill, by --batch {} and "
            "--distill-batch {}\n",
            "shared", job.ranks, job_ranks().size_here(), tune, distill, o.batch, o.distill_batch);
    }
    return fmt::format(
        "{:<8}{:.3f} bits per weight in the blocks, a file of {}\n"
        "{:<8}{}\n"
        "{:<8}{} of the {} tokens in {}\n"
        "{:<8}about {} at {:.0f} GFLOP/s\n"
        "{:<8}about {} of memory, {} of disk\n{}",
        "result", e.bits_per_weight, bytes_text(e.file_bytes), e.paths > 0 ? "paths" : "ranks", ranks, "text", windows,
        e.text_tokens, job.text.filename().string(), "time", duration_text(e.seconds), e.gflops, "needs",
        bytes_text(e.memory_bytes), bytes_text(e.disk_bytes), ranks_line);
}

/// Says what the user may not expect.
void compress_command::note(const compress_estimate& expected) const {
    for (const auto& remark : ignored_options(job.options, given))
        print_note(remark);
    for (const char* option : {"test-context", "test-windows"})
        if (given.contains(option) && !job.test_text)
            print_note(fmt::format("--{} has no effect here: only --test-text uses it", option));
    for (const auto& remark : expected.remarks)
        print_note(remark);
}

void compress_command::run() {
    job.options.recipe = recipe;
    const auto& ranks = job_ranks();
    job.threads = machine.thread_count();
    job.ranks = ranks.size();
    job.on_cuda = machine.backend == "cuda";
    if (!test_text.empty()) job.test_text = test_text;
    const auto expected = estimate(job);
    if (ranks.leads()) {
        note(expected);
        if (dry_run && json)
            print_now(to_json(expected).dump(2) + "\n");
        else if (json)
            std::fputs(to_text(expected, job).c_str(), stderr);
        else
            print_now(to_text(expected, job));
    }
    if (dry_run) return;
    if (ranks.leads()) require_disk_space(job, expected);

    catch_interrupts();
    nlohmann::json report;
    try {
        console_progress progress(expected.plan, verbose);
        report = compress(job, progress, ranks);
    } catch (const subbit::cancelled_error&) {
        throw subbit::cancelled_error("interrupted; the same command resumes from here");
    }
    if (!ranks.leads()) return;
    if (json) {
        fmt::print("{}\n", report.dump(2));
        return;
    }
    const auto& totals = report.at("totals");
    fmt::print("{:<8}{}: {:.3f} bits per weight in the blocks, {} in {}\n", "wrote", job.out.string(),
               totals.at("bits_per_weight").get<double>(), bytes_text(totals.at("model_bytes").get<std::size_t>()),
               duration_text(report.at("seconds").at("total").get<double>()));
    if (report.contains("test"))
        fmt::print("{:<8}{:.2f} on {}\n", "test", report["test"].at("perplexity").get<double>(), test_text);
}

}  // namespace

void add_compress(CLI::App& app, const compress_options& defaults) {
    auto command = std::make_shared<compress_command>();
    command->job.options = defaults;
    command->recipe = defaults.recipe;
    auto* c = app.add_subcommand("compress", "Compress a model; an interrupted run resumes");
    c->add_option("MODEL", command->job.model, "Model directory: config.json, *.safetensors, tokenizer.json")
        ->required();
    c->add_option("--text", command->job.text, "Calibration text (UTF-8)")->required()->type_name("FILE");
    c->add_option("--out", command->job.out, "Directory of the compressed model, made by the run")
        ->required()
        ->type_name("DIR");
    auto* recipe = c->add_option("--recipe", command->recipe, "Defaults of the options below: paper or tuned")
                       ->check(one_of({"paper", "tuned"}))
                       ->type_name("NAME")
                       ->capture_default_str();
    std::vector<std::string> presets;
    std::string measured;
    for (const auto& preset : compress_options::presets()) {
        presets.emplace_back(preset.name);
        measured += fmt::format("{}{}: {}", measured.empty() ? "" : "; ", preset.name, preset.measured);
    }
    c->add_option("--preset", command->preset,
                  "The best run of a budget of time, for a model of 135M weights on two cores (" + measured + ")")
        ->check(one_of(presets))
        ->type_name("NAME")
        ->excludes(recipe);
    compress_options::visit(command->job.options, [&](const std::string& name, auto& member, const char* help) {
        using T = std::remove_reference_t<decltype(member)>;
        const char* type = std::is_same_v<T, std::string> ? "NAME"
                           : std::is_same_v<T, bool>      ? "0|1"
                           : std::is_floating_point_v<T>  ? "X"
                                                          : "N";
        auto* option =
            c->add_option("--" + name, member, help)->type_name(type)->capture_default_str()->group("Hyperparameters");
        if constexpr (std::is_same_v<T, std::uint64_t>) option->check(seed_number());
    });
    c->add_option("--test-text", command->test_text,
                  "Text on which the result is tested; its perplexity goes into the report (default: none)")
        ->type_name("FILE");
    c->add_option("--test-context", command->job.test_context, "Tokens per window of the test text")
        ->check(whole_number(2, 1 << 20))
        ->type_name("N")
        ->capture_default_str();
    c->add_option("--test-windows", command->job.test_windows, "Windows of the test text (0: all)")
        ->check(whole_number(0))
        ->type_name("N")
        ->capture_default_str();
    add_reading_options(*c, command->job.reading);
    command->machine.add_to(*c, {"cpu", "cuda"});
    c->add_option(
         "--state-memory", command->job.state_bytes,
         "Hidden states that stay in memory, for instance 500MB or 4GiB; beyond that they are in a file of DIR/run")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("SIZE")
        ->default_str("4GiB");
    c->add_flag("--keep-run", command->job.keep_run, "Keep DIR/run, the files from which a run resumes");
    c->add_flag("--replace", command->job.replace, "Replace the model in DIR if it is that of another run");
    c->add_flag("--dry-run", command->dry_run, "Only estimate the run's time, memory and result");
    c->add_flag("--json", command->json, "Print the report (with --dry-run the estimate) as JSON");
    c->add_flag("--verbose", command->verbose,
                "Print a line for every block if there is no terminal for a progress bar");
    c->callback([command, c] {
        for (const auto* option : c->get_options())
            if (option->count() > 0 && !option->get_lnames().empty())
                command->given.insert(option->get_lnames().front());
        command->run();
    });
}

}  // namespace llama
