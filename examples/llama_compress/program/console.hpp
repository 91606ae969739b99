// What the commands share on the terminal: readable quantities, Ctrl-C, a progress bar, the choice of the machine.
#pragma once

#include "compress/compress.hpp"

#include <CLI/CLI.hpp>
#include <subbit/backend/cpu.hpp>
#include <subbit/core/progress.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

/// "3 min 20 s", "1 h 05 min".
std::string duration_text(double seconds);
/// "12.3 MB" (powers of 1000).
std::string bytes_text(std::size_t bytes);

/// From now on SIGINT and SIGTERM only set a flag, the first time; the second time they end the program.
void catch_interrupts();
/// True once a signal has asked to stop.
bool interrupted();

/// The options of every command that computes.
struct machine_options {
    int threads = 0;
    std::string backend = "cpu";

    /// `backends`: those on which the command can run.
    void add_to(CLI::App& command, const std::vector<std::string>& backends = {"cpu"});
    subbit::cpu make(subbit::precision products = subbit::precision::f32) const;
    /// The threads to use: at most the machine's cores, of which a note tells where more were asked for.
    int thread_count() const;
};

/// --products, for the commands that evaluate.
void add_products_option(CLI::App& command, std::string& products);
subbit::precision precision_of(const std::string& products);

/// --no-bos and --specials-as-text, for the commands that read texts.
void add_reading_options(CLI::App& command, text_reading& reading);

/// --temperature and --seed, for the commands that choose tokens.
void add_temperature_option(CLI::App& command, double& temperature);
void add_seed_option(CLI::App& command, std::uint64_t& seed);

/// What commands that run a model may round, and to what; by default nothing is rounded.
struct rounding_options {
    std::string head = "f32", packed_products = "exact", cache = "f32";

    void add_to(CLI::App& command);
    /// --cache, for the command that continues a text.
    void add_cache_to(CLI::App& command);
    model_rounding make() const;
};

/// How much of a planned job is done, and how long the rest will take at the speed so far.
class job_clock {
  public:
    using clock = std::chrono::steady_clock;

    explicit job_clock(std::vector<planned_phase> plan) : plan_(std::move(plan)) {}

    /// A step as progress::step reports it. "block" begins a block; other phases follow in the order of the plan.
    void step(std::string_view what, std::size_t done, std::size_t total, clock::time_point now);
    /// The share of the planned seconds that is done, 0 to 1.
    double fraction() const;
    double seconds_left() const;

  private:
    struct rate {
        double planned = 0, actual = 0;
    };
    void enter(std::string_view what, bool anew);
    void enter_block(index block);

    std::vector<planned_phase> plan_;
    std::map<std::string, rate, std::less<>> rates_;  // by phase: what was planned, and what it took
    std::size_t at_ = 0;
    double share_ = 0;  // of the phase at at_
    std::size_t last_done_ = 0;
    clock::time_point last_time_ = clock::now();
};

/// A bar on standard error if that is a terminal; otherwise nothing, or with `verbose` a line for every block.
class console_progress : public subbit::progress {
  public:
    explicit console_progress(std::vector<planned_phase> plan, bool verbose = false);
    ~console_progress() override;
    console_progress(const console_progress&) = delete;
    console_progress& operator=(const console_progress&) = delete;

    void step(std::string_view what, std::size_t done, std::size_t total, double loss) override;
    void note(std::string_view sentence) override;
    bool cancelled() const override { return interrupted(); }
    /// Clears the bar, so that other text can follow.
    void clear();

  private:
    void draw(std::string_view what, std::size_t done, std::size_t total, double loss);

    job_clock clock_;
    bool terminal_, verbose_, drawn_ = false;
    std::size_t block_ = 0, blocks_ = 0;
    job_clock::clock::time_point last_drawn_{};
};

}  // namespace llama
