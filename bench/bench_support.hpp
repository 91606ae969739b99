// What the benches share: seeded operands, a counter of operations, and the cpu backends to compare.
#pragma once

#include <subbit/backend/cpu.hpp>

#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#if defined(SUBBIT_BENCH_OPENBLAS)
#include <cblas.h>
extern "C" void openblas_set_num_threads(int);
#endif

namespace subbit::bench {

template <class S>
matrix<S> random_matrix(index rows, index cols, std::uint64_t seed) {
    matrix<S> X(rows, cols);
    const random_stream stream(seed);
    for (index i = 0; i < X.size(); ++i)
        X.data()[i] = static_cast<S>(stream.normal(static_cast<std::uint64_t>(i)));
    return X;
}

/// Reports `per_iteration` operations as a rate, in units of 10^9 a second ("110G/s").
inline void report_rate(benchmark::State& state, const char* name, double per_iteration) {
    state.counters[name] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::OneK::kIs1000);
}

/// One thread is timed by the processor time it took, several by the clock.
template <class F>
void add(const std::string& name, F&& run, int threads = 1) {
    auto* added = benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
    if (threads > 1) added->UseRealTime();
}

inline double product_of(index a, index b, index c = 1) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

}  // namespace subbit::bench
