// LB-ADMM on a GPU against the float product of cuBLAS there; the flop formula is in bench/README.md.
#include "gpu_bench.hpp"

#include <subbit/factor/lb_admm.hpp>

#include <chrono>

namespace subbit::bench {
namespace {

double product_of(index a, index b, index c) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

matrix<float> random_matrix(index rows, index cols) {
    matrix<float> X(rows, cols);
    fill_normal(reference<float>(), random_stream(1), X);
    return X;
}

/// A matrix in the device's memory, stored by rows or by columns.
template <class B>
struct stored_matrix {
    stored_matrix(const B& b, index rows, index cols, bool by_columns)
        : turned(by_columns), entries(upload(b, turned ? random_matrix(cols, rows) : random_matrix(rows, cols))) {}
    auto get() const { return turned ? view(entries).t() : view(entries); }

    bool turned;
    typename B::template matrix<float> entries;
};

/// Arguments: m, n, k, which operands are stored by columns (1: A, 2: X), TF32. The products that LB-ADMM spends its
/// time on: the target's with a basis by columns (2), its transpose's (3), the Gram matrix and a step of conjugate
/// gradients (2); and what they would be of a basis by rows (0, 1, 1).
void cublas_sgemm(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), k = state.range(2);
    const cuda b(cuda_device({.tf32 = state.range(4) != 0}));
    const stored_matrix<cuda> left(b, m, k, (state.range(3) & 1) != 0), right(b, k, n, (state.range(3) & 2) != 0);
    const auto A = left.get(), X = right.get();
    auto C = allocate<float>(b, m, n);
    gemm(b, A, X, C);
    gpu_clock clock(b.device().stream());
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] { gemm(b, A, X, C); }));
    report_rate(state, "FLOP/s", 2 * product_of(m, n, k));
}
BENCHMARK(cublas_sgemm)
    ->ArgNames({"m", "n", "k", "turned", "tf32"})
    ->Args({4096, 2032, 4096, 0, 0})
    ->Args({4096, 2032, 4096, 0, 1})
    ->Args({4096, 2032, 4096, 1, 1})
    ->Args({4096, 2032, 4096, 2, 1})
    ->Args({4096, 2032, 4096, 3, 1})
    ->Args({2032, 2032, 4096, 1, 1})
    ->Args({2032, 2032, 4096, 2, 1})
    ->Args({4096, 2032, 2032, 2, 1})
    ->Iterations(20)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

/// Arguments: m, n, rank, iterations, TF32 (0 or 1). All of lb_admm(), by the clock: upload, iterations, signs and
/// scales.
void lb_admm_gpu(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), r = state.range(2);
    const cuda b(cuda_device({.tf32 = state.range(4) != 0}));
    const matrix<float> W = random_matrix(m, n);
    double error = 0;
    for (auto _ : state) {
        const auto start = std::chrono::steady_clock::now();
        error = lb_admm(b, W, {.rank = r, .iterations = static_cast<int>(state.range(3))}).error;
        state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    const double flops = 4 * product_of(m, n, r) + 3 * product_of(r, r, m + n) + 2.0 / 3.0 * product_of(r, r, r);
    report_rate(state, "FLOP/s", flops * static_cast<double>(state.range(3)));
    state.counters["error"] = error;
}
BENCHMARK(lb_admm_gpu)
    ->ArgNames({"m", "n", "rank", "K", "tf32"})
    ->Args({1536, 576, 384, 400, 0})
    ->Args({1536, 576, 384, 400, 1})
    ->Args({4096, 4096, 2032, 400, 0})
    ->Args({4096, 4096, 2032, 400, 1})
    ->Iterations(2)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace subbit::bench

BENCHMARK_MAIN();
