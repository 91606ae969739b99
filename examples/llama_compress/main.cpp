// llama_compress: from a model and a text it makes a model of one bit per weight or less.
#include "program/commands.hpp"
#include "program/console.hpp"
#include "program/ranks.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"

#include <subbit/core/error.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

namespace {

/// The value of `--NAME VALUE` or `--NAME=VALUE`, or nothing.
std::string_view value_of(std::string_view option, int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == option && i + 1 < argc) return argv[i + 1];
        if (word.starts_with(option) && word.substr(option.size()).starts_with("="))
            return word.substr(option.size() + 1);
    }
    return {};
}

/// Method and recipe decide the defaults of all other options, so they are read before the options are defined.
llama::compress_options defaults_for(int argc, char** argv) {
    const bool rabit = value_of("--method", argc, argv) == "rabit";
    if (const auto preset = llama::compress_options::preset(value_of("--preset", argc, argv), rabit)) return *preset;
    if (rabit) return llama::compress_options::rabit();
    if (value_of("--recipe", argc, argv) == "paper") return llama::compress_options::paper();
    return llama::compress_options::tuned();
}

int fail(const std::string& message, int status) {
    std::fflush(stdout);
    const auto& ranks = llama::job_ranks();
    if (ranks.is_alone()) {
        if (llama::launched_number() == 0) llama::print_error(message);
        return status;
    }
    // An error that all ranks meet is told once: the others wait until the first has told it and ended them.
    if (!ranks.leads()) std::this_thread::sleep_for(std::chrono::seconds(2));
    llama::print_error("rank " + std::to_string(ranks.rank()) + ": " + message);
    llama::end_ranks(ranks, status);
}

/// The same where there is no memory for a message.
int fail_without_memory() {
    const auto& ranks = llama::job_ranks();
    if (llama::launched_number() == 0 || !ranks.is_alone()) llama::print_out_of_memory();
    if (!ranks.is_alone()) llama::end_ranks(ranks, 1);
    return 1;
}

/// Where memory runs out before main(), or where nothing may be thrown, the program ends with the same line. Of other
/// exceptions the usual handler tells more.
[[gnu::constructor(101), maybe_unused]] void watch_memory() {
    static const std::terminate_handler usual = std::get_terminate();
    std::set_terminate([] {
        try {
            if (std::current_exception()) throw;
        } catch (const std::bad_alloc&) {
            llama::print_out_of_memory();
            std::_Exit(1);
        } catch (...) {
        }
        usual();
    });
}

/// Help and version, which CLI11 writes to standard output.
int print_help(const CLI::App& app, const CLI::Success& help) {
    std::ostringstream text;
    app.exit(help, text, text);
    if (llama::job_ranks().leads()) llama::print_now(text.str());
    return 0;
}

int run(int argc, char** argv) {
    CLI::App app("Compresses language models to one bit per weight and below, and runs the result.", "llama_compress");
    app.require_subcommand(1);
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    app.set_version_flag("--version", "llama_compress " + llama::version_text(), "Print the version and exit");
    llama::add_compress(app, defaults_for(argc, argv));
    llama::add_perplexity(app);
    llama::add_generate(app);
    llama::add_sample(app);
    llama::add_inspect(app);
    llama::add_export(app);
    llama::add_info(app);
    llama::add_demo(app);
    for (CLI::App* command : app.get_subcommands({}))
        if (command->get_name() != "compress" && command->get_name() != "perplexity")
            command->parse_complete_callback([command] { llama::require_one_process(command->get_name().c_str()); });
    try {
        llama::require_known_words(app, argc, argv);
        app.parse(argc, argv);
        llama::flush_output();
        return 0;
    } catch (const CLI::Success& help) {
        return print_help(app, help);
    }
}

}  // namespace

int main(int argc, char** argv) {
    llama::guard_streams();
    std::unique_ptr<subbit::communicator> ranks;  // outlives the messages
    try {
        ranks = llama::start_ranks();
        llama::set_job_ranks(*ranks);
        return run(argc, argv);
    } catch (const CLI::ParseError& e) {
        return fail(std::string(e.what()) + " (see --help)", 2);
    } catch (const subbit::cancelled_error& e) {
        return fail(e.what(), 130);
    } catch (const std::bad_alloc&) {
        return fail_without_memory();
    } catch (const std::exception& e) {
        return fail(e.what(), 1);
    }
}
