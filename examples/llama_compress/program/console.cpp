#include "program/console.hpp"

#include "program/ranks.hpp"
#include "program/streams.hpp"
#include "program/words.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <limits>
#include <thread>

namespace llama {

std::string duration_text(double seconds) {
    if (seconds < 10) return fmt::format("{:.1f} s", seconds);
    const auto s = static_cast<long long>(seconds + 0.5);
    if (s < 60) return fmt::format("{} s", s);
    if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
    return fmt::format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

std::string bytes_text(std::size_t bytes) {
    const auto b = static_cast<double>(bytes);
    if (b < 1e3) return fmt::format("{} B", bytes);
    if (b < 1e6) return fmt::format("{:.1f} kB", b / 1e3);
    if (b < 1e9) return fmt::format("{:.1f} MB", b / 1e6);
    return fmt::format("{:.2f} GB", b / 1e9);
}

namespace {

std::atomic<bool> stop_asked = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may touch nothing else");

}  // namespace

void catch_interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop_asked.store(true); };
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
    return stop_asked.load();
}

void machine_options::add_to(CLI::App& command, const std::vector<std::string>& backends) {
    command.add_option("--threads", threads, "Threads (0: all, and no more than all are used)")
        ->check(whole_number(0, std::numeric_limits<int>::max()))
        ->type_name("N")
        ->capture_default_str();
    command
        .add_option("--backend", backend, "The machine to run on: " + fmt::format("{}", fmt::join(backends, " or ")))
        ->check(one_of(backends))
        ->type_name("NAME")
        ->capture_default_str();
}

subbit::cpu machine_options::make(subbit::precision products) const {
    return subbit::cpu({.threads = thread_count(), .products = products});
}

int machine_options::thread_count() const {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    const int asked = threads_of_rank(threads);
    if (asked <= cores) return asked;
    if (job_ranks().leads())
        print_note(fmt::format("--threads is {}, but this machine has {} core{}, so no more threads are used", threads,
                               cores, cores == 1 ? "" : "s"));
    return cores;
}

void add_products_option(CLI::App& command, std::string& products) {
    command.add_option("--products", products, "Matrix products: f32 or bf16 (accumulated in f32)")
        ->check(one_of({"f32", "bf16"}))
        ->type_name("NAME")
        ->capture_default_str();
}

subbit::precision precision_of(const std::string& products) {
    return products == "bf16" ? subbit::precision::bf16 : subbit::precision::f32;
}

void add_reading_options(CLI::App& command, text_reading& reading) {
    command.add_flag_callback(
        "--no-bos", [&reading] { reading.bos = false; },
        "Do not put the token that begins a text (BOS) before texts and windows");
    command.add_flag_callback(
        "--specials-as-text", [&reading] { reading.specials = special_tokens::plain_text; },
        "Treat the names of special tokens in a text as ordinary text");
}

void add_temperature_option(CLI::App& command, double& temperature) {
    command.add_option("--temperature", temperature, "0: always the most likely token")
        ->check(number(0))
        ->type_name("T")
        ->capture_default_str();
}

void add_seed_option(CLI::App& command, std::uint64_t& seed) {
    command.add_option("--seed", seed, "Seed of the random choices")
        ->check(seed_number())
        ->type_name("S")
        ->capture_default_str();
}

void rounding_options::add_to(CLI::App& command) {
    command.add_option("--head", head, "Embedding and output head: f32, bf16, or int8 with a scale for each row")
        ->check(one_of({"f32", "bf16", "int8"}))
        ->type_name("NAME")
        ->capture_default_str();
    command
        .add_option("--packed-products", packed_products,
                    "Products with packed signs: exact, or int8 (sums of four inputs are rounded to 8 bits)")
        ->check(one_of({"exact", "int8"}))
        ->type_name("NAME")
        ->capture_default_str();
}

void rounding_options::add_cache_to(CLI::App& command) {
    command.add_option("--cache", cache, "Keys and values of the tokens so far: f32, or bf16 in half the memory")
        ->check(one_of({"f32", "bf16"}))
        ->type_name("NAME")
        ->capture_default_str();
}

model_rounding rounding_options::make() const {
    return {parse_row_format(head),
            {packed_products == "int8" ? subbit::packed_precision::int8 : subbit::packed_precision::exact},
            cache == "bf16" ? cache_format::bf16 : cache_format::scalar};
}

void job_clock::step(std::string_view what, std::size_t done, std::size_t total, clock::time_point now) {
    if (what == "block") {
        enter_block(static_cast<index>(done));
    } else if (!plan_.empty()) {
        enter(what, done <= last_done_);
        auto& phase = plan_[at_];
        if (phase.what == what && total > 0) {
            const double share = static_cast<double>(done) / static_cast<double>(total);
            auto& seen = rates_[phase.what];
            // What is resumed from an earlier run took no time now, and must not be mistaken for speed.
            if (done == last_done_ + 1) {
                seen.planned += phase.seconds / static_cast<double>(total);
                seen.actual += std::chrono::duration<double>(now - last_time_).count();
            }
            share_ = share;
        }
        last_done_ = done;
    }
    last_time_ = now;
}

/// Moves to the next phase of that name; to one after the present phase if its steps have begun `anew`.
void job_clock::enter(std::string_view what, bool anew) {
    if (plan_[at_].what == what && !anew) return;
    const std::size_t from = at_ + (plan_[at_].what == what && anew ? 1 : 0);
    for (std::size_t i = from; i < plan_.size(); ++i)
        if (plan_[i].what == what) {
            at_ = i;
            share_ = 0;
            last_done_ = 0;
            return;
        }
}

void job_clock::enter_block(index block) {
    for (std::size_t i = 0; i < plan_.size(); ++i)
        if (plan_[i].block == block) {
            at_ = i;
            share_ = 0;
            last_done_ = 0;
            return;
        }
}

double job_clock::fraction() const {
    double before = 0, total = 0;
    for (std::size_t i = 0; i < plan_.size(); ++i) {
        total += plan_[i].seconds;
        before += i < at_ ? plan_[i].seconds : i == at_ ? share_ * plan_[i].seconds : 0;
    }
    return total > 0 ? std::min(1.0, before / total) : 0;
}

double job_clock::seconds_left() const {
    rate all;
    for (const auto& [name, r] : rates_) {
        all.planned += r.planned;
        all.actual += r.actual;
    }
    const double usual = all.planned > 0 ? all.actual / all.planned : 1;
    double left = 0;
    for (std::size_t i = at_; i < plan_.size(); ++i) {
        const double planned = plan_[i].seconds * (i == at_ ? 1 - share_ : 1);
        const auto seen = rates_.find(plan_[i].what);
        const bool known = seen != rates_.end() && seen->second.planned > 0;
        left += planned * (known ? seen->second.actual / seen->second.planned : usual);
    }
    return left;
}

console_progress::console_progress(std::vector<planned_phase> plan, bool verbose)
    : clock_(std::move(plan)),
      terminal_(::isatty(STDERR_FILENO) == 1 && job_ranks().leads()),
      verbose_(verbose && job_ranks().leads()) {}

console_progress::~console_progress() {
    clear();
}

void console_progress::clear() {
    if (drawn_) std::fputs("\r\033[K", stderr);
    drawn_ = false;
}

void console_progress::note(std::string_view sentence) {
    if (!job_ranks().leads()) return;
    clear();
    print_note(sentence);
}

void console_progress::step(std::string_view what, std::size_t done, std::size_t total, double loss) {
    const auto now = job_clock::clock::now();
    clock_.step(what, done, total, now);
    const bool new_block = what == "block";
    if (new_block) {
        block_ = done + 1;
        blocks_ = total;
        if (verbose_ && !terminal_)
            std::fputs(fmt::format("block {} of {}, {:.0f} % done, {} left\n", block_, total, 100 * clock_.fraction(),
                                   duration_text(clock_.seconds_left()))
                           .c_str(),
                       stderr);
        return;
    }
    if (what == "teacher" || what == "distill") blocks_ = 0;
    if (!terminal_ || (done != total && now - last_drawn_ < std::chrono::milliseconds(100))) return;
    last_drawn_ = now;
    draw(what, done, total, loss);
}

void console_progress::draw(std::string_view what, std::size_t done, std::size_t total, double loss) {
    winsize size{};
    const std::size_t width = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    std::string left = blocks_ > 0 ? fmt::format("block {}/{}  ", block_, blocks_) : std::string();
    left += fmt::format("{} {}/{}", what, done, total);
    if (loss >= 0) left += fmt::format("  loss {:.4f}", loss);
    const std::string right =
        fmt::format(" {:3.0f} %  {} left", 100 * clock_.fraction(), duration_text(clock_.seconds_left()));
    std::string line = left;
    constexpr std::size_t least = 8;
    if (left.size() + right.size() + least + 5 < width) {
        const std::size_t cells = std::min<std::size_t>(40, width - left.size() - right.size() - 5);
        const auto full = static_cast<std::size_t>(clock_.fraction() * static_cast<double>(cells));
        line += "  [" + std::string(full, '#') + std::string(cells - full, '.') + "]";
    }
    line += right;
    if (line.size() >= width) line.resize(width - 1);
    std::fputs(("\r" + line + "\033[K").c_str(), stderr);
    std::fflush(stderr);
    drawn_ = true;
}

}  // namespace llama
