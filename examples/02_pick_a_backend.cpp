// The same solver on several backends: the reference in double precision, and the cpu with every instruction set of
// this machine. A backend is a value; nothing else in the code changes.
#include <subbit/subbit.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>

namespace sb = subbit;

struct outcome {
    double error;
    double seconds;
};

/// Factorizes one seeded matrix on `backend` in the scalar type S.
template <class S, sb::backend<S> B>
outcome run(const B& backend) {
    sb::matrix<S> W(96, 64);
    sb::fill_normal(backend, sb::random_stream(7), W);  // counter-based: the same numbers on every backend
    const auto start = std::chrono::steady_clock::now();
    const auto fit = sb::lb_admm(backend, W, {.rank = 32});
    return {fit.error, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

void print(const char* name, const outcome& o) {
    std::printf("%-42s error %.5f   %7.1f ms\n", name, o.error, 1e3 * o.seconds);
}

int main() {
    const outcome oracle = run<double>(sb::reference<double>{});
    print("reference, double", oracle);
    bool good = oracle.error > 0 && oracle.error < 1;

    for (const sb::isa instructions : sb::all_isas) {
        if (!sb::has_isa(instructions)) {
            std::printf("%-42s not on this machine\n", sb::isa_name(instructions));
            continue;
        }
        const sb::cpu backend({.instructions = instructions});
        const outcome exact = run<double>(backend), single = run<float>(backend);
        print((backend.describe() + ", double").c_str(), exact);
        print((backend.describe() + ", float").c_str(), single);
        // Another order of summation may flip signs during the iteration; the error at the end is as low.
        good = good && std::abs(exact.error - oracle.error) < 0.02 * oracle.error &&
               std::abs(single.error - oracle.error) < 0.02 * oracle.error;
    }
    if (!good) std::fprintf(stderr, "check failed: the backends disagree by more than 2 %%\n");
    return good ? 0 : 1;
}
