// The time that is left, as the progress bar counts it, and quantities for people.
#include "program/console.hpp"

#include <doctest/doctest.h>

using llama::job_clock;

namespace {

/// A clock that a test turns itself.
struct turned_clock {
    job_clock::clock::time_point now = job_clock::clock::now();

    void pass(double seconds) {
        now += std::chrono::duration_cast<job_clock::clock::duration>(std::chrono::duration<double>(seconds));
    }
};

}  // namespace

TEST_CASE("time left: what was planned, at the rates seen so far") {
    job_clock job({{"calibrate", 10, -1}, {"tune", 20, 0}, {"tune", 20, 1}, {"distill", 50, -1}});
    turned_clock clock;
    job.step("calibrate", 0, 5, clock.now);
    CHECK(job.fraction() == doctest::Approx(0));
    CHECK(job.seconds_left() == doctest::Approx(100));
    for (std::size_t i = 1; i <= 5; ++i) {
        clock.pass(4);  // twice the plan's 2 s
        job.step("calibrate", i, 5, clock.now);
    }
    CHECK(job.fraction() == doctest::Approx(0.1));
    CHECK(job.seconds_left() == doctest::Approx(180));

    job.step("block", 0, 2, clock.now);
    for (std::size_t i = 1; i <= 10; ++i) {
        clock.pass(2);  // as planned
        job.step("tune", i, 10, clock.now);
    }
    CHECK(job.fraction() == doctest::Approx(0.3));
    // The other block as planned; for the distillation the mean rate of all that was seen, 40 s for a planned 30.
    CHECK(job.seconds_left() == doctest::Approx(20 + 50 * 40.0 / 30));

    job.step("block", 1, 2, clock.now);
    clock.pass(2);
    job.step("tune", 1, 10, clock.now);
    CHECK(job.fraction() == doctest::Approx(0.32));
}

TEST_CASE("time left: a phase that begins again is the next one of its name, and finished blocks are no speed") {
    job_clock job({{"tune layer", 10, 0}, {"tune layer", 10, 0}, {"tune layer", 10, 1}, {"tune layer", 10, 1}});
    turned_clock clock;
    job.step("block", 0, 2, clock.now);
    job.step("block", 1, 2, clock.now);  // the first was there already
    CHECK(job.fraction() == doctest::Approx(0.5));
    CHECK(job.seconds_left() == doctest::Approx(20));
    for (int phase = 0; phase < 2; ++phase)
        for (std::size_t i = 1; i <= 2; ++i) {
            clock.pass(15);
            job.step("tune layer", i, 2, clock.now);
            CHECK(job.fraction() == doctest::Approx(0.5 + 0.25 * phase + 0.125 * static_cast<double>(i)));
        }
    CHECK(job.seconds_left() == doctest::Approx(0));
}

TEST_CASE("quantities for people") {
    CHECK(llama::duration_text(3.25) == "3.2 s");
    CHECK(llama::duration_text(59.6) == "1 min 00 s");
    CHECK(llama::duration_text(200) == "3 min 20 s");
    CHECK(llama::duration_text(3900) == "1 h 05 min");
    CHECK(llama::bytes_text(999) == "999 B");
    CHECK(llama::bytes_text(12345678) == "12.3 MB");
}

TEST_CASE("what a model rounds is what the command line says") {
    const auto rounding = [](const std::string& words) {
        CLI::App command;
        llama::rounding_options options;
        options.add_to(command);
        options.add_cache_to(command);
        command.parse(words);
        return options.make();
    };
    CHECK(rounding("").head == llama::row_format::f32);
    CHECK(rounding("").packed.precision == subbit::packed_precision::exact);
    CHECK(rounding("").cache == llama::cache_format::scalar);
    CHECK(rounding("--head int8").head == llama::row_format::int8);
    CHECK(rounding("--packed-products int8").packed.precision == subbit::packed_precision::int8);
    CHECK(rounding("--cache bf16").cache == llama::cache_format::bf16);
}
