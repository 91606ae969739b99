#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace subbit::testing {
namespace {

static_assert(host_backend<cpu>);

/// Sets SUBBIT_ISA for as long as it lives.
class isa_variable {
  public:
    explicit isa_variable(const char* value) {
        const char* old = std::getenv("SUBBIT_ISA");
        if (old != nullptr) old_ = old;
        setenv("SUBBIT_ISA", value, 1);
    }
    ~isa_variable() { old_.empty() ? unsetenv("SUBBIT_ISA") : setenv("SUBBIT_ISA", old_.c_str(), 1); }

  private:
    std::string old_;
};

TEST_CASE("options are checked, and the environment chooses the instruction set") {
    check_throws<value_error>([] { cpu(cpu_options{.threads = -1}); }, {"-1", "0 (all)"});
    for (const isa i : runnable_isas()) {
        const isa_variable set(isa_name(i));
        CHECK(cpu().instructions() == i);
    }
    {
        const isa_variable set("sse9");
        check_throws<value_error>([] { cpu(); }, {"sse9", "portable"});
        CHECK(cpu(cpu_options{.instructions = isa::portable}).instructions() == isa::portable);
    }
    {
        const isa_variable set("");
        CHECK(cpu().instructions() == detect_isa());
    }
    CHECK(cpu().threads() >= 1);
    const cpu b(cpu_options{.threads = 3, .instructions = isa::portable, .products = precision::bf16});
    CHECK(b.threads() == 3);
    CHECK(b.describe() == "cpu: portable, 3 threads, bf16 products by rounding");
    for (const bf16_method method : {bf16_method::instruction, bf16_method::matrix_units})
        check_throws<value_error>([&] { cpu({.instructions = isa::portable, .bf16 = method}); },
                                  {bf16_method_name(method), "portable"});
}

TEST_CASE("parallel_for covers the range once, in chunks that do not depend on the threads") {
    for (const int threads : {1, 2, 5})
        for (const index n : {0, 1, 7, 64, 1000})
            for (const index grain : {1, 7, 64, 5000}) {
                const cpu b(cpu_options{.threads = threads});
                std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
                std::atomic<bool> in_place = true;
                b.parallel_for(n, grain, [&](index begin, index end) {
                    if (begin % grain != 0 || end != std::min(n, begin + grain)) in_place = false;
                    for (index i = begin; i < end; ++i)
                        ++seen[static_cast<std::size_t>(i)];
                });
                CHECK(in_place);
                CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& s) { return s == 1; }));
            }
}

TEST_CASE("the stretches of a loop's chunks follow each other, have every chunk, and differ by one at most") {
    for (const int stretches : {1, 2, 3, 8})
        for (const index chunks : {1, 2, 7, 16, 23}) {
            CAPTURE(stretches);
            CAPTURE(chunks);
            index next = 0;
            for (int s = 0; s < stretches; ++s) {
                const unit_range stretch = even_share(chunks, stretches, s);
                CHECK(stretch.first == next);
                CHECK(stretch.count() >= chunks / stretches);
                CHECK(stretch.count() <= chunks / stretches + 1);
                next += stretch.count();
            }
            CHECK(next == chunks);
        }
}

TEST_CASE("a thread that has no chunk of its own left takes those of one that is held up") {
    const cpu b(cpu_options{.threads = 2});
    std::atomic<int> done = 0;
    // The chunk that waits is the first of its stretch: the rest of the stretch is the other thread's.
    b.parallel_for(16, 1, [&](index begin, index) {
        if (begin == 0)
            while (done < 15)
                std::this_thread::yield();
        ++done;
    });
    CHECK(done == 16);
}

TEST_CASE("an exception in a loop reaches the caller, and the threads live on") {
    const cpu b(cpu_options{.threads = 4});
    for (int round = 0; round < 50; ++round) {
        CHECK_THROWS_AS(b.parallel_for(100, 1,
                                       [](index begin, index) {
                                           if (begin % 10 == 3) throw std::out_of_range("chunk");
                                       }),
                        std::out_of_range);
        std::atomic<index> sum = 0;
        b.parallel_for(100, 1, [&](index begin, index) { sum += begin; });
        CHECK(sum == 4950);
    }
}

TEST_CASE("loops within loops, and loops from several threads at once, are correct") {
    const cpu b(cpu_options{.threads = 3});
    std::atomic<index> sum = 0;
    b.parallel_for(20, 1, [&](index, index) { b.parallel_for(50, 1, [&](index i, index) { sum += i; }); });
    CHECK(sum == 20 * 1225);

    const auto A = random_matrix<float>(100, 80, 1), X = random_matrix<float>(80, 90, 2);
    matrix<float> want(100, 90);
    gemm(b, A, X, want);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([&] {
            matrix<float> C(100, 90);
            for (int round = 0; round < 20; ++round) {
                gemm(b, A, X, C);
                if (C != want) ++wrong;
            }
        });
    for (std::thread& c : callers)
        c.join();
    CHECK(wrong == 0);
}

#if defined(__aarch64__)
constexpr bool may_be_emulated = true;  // qemu's user mode does not survive the fork of a process with threads
#else
constexpr bool may_be_emulated = false;
#endif

TEST_CASE("a process that is forked computes the same, and ends well" * doctest::skip(may_be_emulated)) {
    auto b = std::make_unique<const cpu>(cpu_options{.threads = 3});
    const auto A = random_matrix<float>(300, 200, 1), X = random_matrix<float>(200, 250, 2);
    matrix<float> want(300, 250);
    gemm(*b, A, X, want);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {  // its status says which step went wrong: no test framework here
        ::alarm(60);
        matrix<float> C(300, 250);
        gemm(*b, A, X, C);
        if (C != want || b->threads() != 1) ::_exit(1);
        b.reset();
        const cpu own(cpu_options{.threads = 2});
        gemm(own, A, X, C);
        ::_exit(C == want && own.threads() == 2 ? 0 : 2);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    matrix<float> C(300, 250);
    gemm(*b, A, X, C);  // and the parent's threads live on
    CHECK(C == want);
}

}  // namespace
}  // namespace subbit::testing
