// LB-ADMM on a GPU against the float product of cuBLAS there; the flop formula is in bench/README.md.
#include "gpu_bench.hpp"

#include <subbit/backend/jobs/streams.hpp>
#include <subbit/factor/lb_admm.hpp>

#include <chrono>

namespace subbit::bench {
namespace {

double product_of(index a, index b, index c) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

/// On the host; made on the device, where a quarter of a billion normal numbers take no time.
matrix<float> random_matrix(const cuda& b, index rows, index cols) {
    auto X = allocate<float>(b, rows, cols);
    fill_normal(b, random_stream(1), X);
    return download(b, std::move(X));
}

/// What all benches here time: all of lb_admm() with the paper's iteration, that is upload, iterations, signs and
/// scales.
double factorize(const cuda& b, const matrix<float>& W, index rank, int iterations) {
    return lb_admm(b, W, {.rank = rank, .iterations = iterations, .iteration = paper_iteration{}}).error;
}

template <class F>
double seconds_by_clock(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A matrix in the device's memory, stored by rows or by columns.
struct stored_matrix {
    stored_matrix(const cuda& b, index rows, index cols, bool by_columns)
        : turned(by_columns), entries(turned ? allocate<float>(b, cols, rows) : allocate<float>(b, rows, cols)) {
        fill_normal(b, random_stream(1), entries);
    }
    auto get() const { return turned ? view(entries).t() : view(entries); }

    bool turned;
    cuda::matrix<float> entries;
};

/// Arguments: m, n, k, which operands are stored by columns (1: A, 2: X), TF32. The products that LB-ADMM spends its
/// time on: the target's with a basis by columns (2), its transpose's (3), the Gram matrix and a step of conjugate
/// gradients (2); and what they would be of a basis by rows (0, 1, 1).
void cublas_sgemm(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), k = state.range(2);
    const cuda b(cuda_device({.tf32 = state.range(4) != 0}));
    const stored_matrix left(b, m, k, (state.range(3) & 1) != 0), right(b, k, n, (state.range(3) & 2) != 0);
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

/// Arguments: m, n, rank, iterations, TF32 (0 or 1).
void lb_admm_gpu(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), r = state.range(2);
    const cuda b(cuda_device({.tf32 = state.range(4) != 0}));
    const matrix<float> W = random_matrix(b, m, n);
    factorize(b, W, r, 2);  // makes handles and workspaces
    double error = 0;
    for (auto _ : state)
        state.SetIterationTime(seconds_by_clock([&] { error = factorize(b, W, r, static_cast<int>(state.range(3))); }));
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

/// Arguments: how many streams, iterations, TF32. The seven layers of a SmolLM2-135M block at 1.0 bit, as a block's
/// reconstruction factorizes them (recon/block_reconstruction.hpp).
void smollm2_block(benchmark::State& state) {
    constexpr layer_shape shapes[] = {{576, 576},  {192, 576},  {192, 576}, {576, 576},
                                      {1536, 576}, {1536, 576}, {576, 1536}};
    const cuda b(cuda_device({.tf32 = state.range(2) != 0}));
    std::vector<matrix<float>> weights;
    for (const auto& [rows, cols] : shapes)
        weights.push_back(random_matrix(b, rows, cols));
    const auto all = [&](int iterations) {
        for_each_on_streams(b, std::ssize(weights), static_cast<int>(state.range(0)), [&](const cuda& stream, index i) {
            const auto& W = weights[static_cast<std::size_t>(i)];
            factorize(stream, W, rank_for(bits_per_weight{1.0}, W.rows(), W.cols()), iterations);
        });
    };
    all(2);
    for (auto _ : state)
        state.SetIterationTime(seconds_by_clock([&] { all(static_cast<int>(state.range(1))); }));
}
BENCHMARK(smollm2_block)
    ->ArgNames({"streams", "K", "tf32"})
    ->Args({4, 400, 0})
    ->Args({4, 400, 1})
    ->Args({7, 400, 1})
    ->Iterations(2)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

/// Arguments: m, n, how many such layers a block of Llama-2-70B has, TF32. A layer at 1.0 bit: the time is that of 20
/// iterations, the difference of runs of 30 and 10; `model_hours` is what 400 of them and all that comes before and
/// after would take for these layers of all 80 blocks.
void llama_70b_layer(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), r = rank_for(bits_per_weight{1.0}, m, n);
    const cuda b(cuda_device({.tf32 = state.range(3) != 0}));
    const matrix<float> W = random_matrix(b, m, n);
    factorize(b, W, r, 2);
    double hours = 0;
    for (auto _ : state) {
        const double ten = seconds_by_clock([&] { factorize(b, W, r, 10); });
        const double twenty = seconds_by_clock([&] { factorize(b, W, r, 30); }) - ten;
        state.SetIterationTime(twenty);
        hours = (ten + 390.0 / 20 * twenty) * 80 * static_cast<double>(state.range(2)) / 3600;
    }
    state.counters["model_hours"] = hours;
}
BENCHMARK(llama_70b_layer)
    ->ArgNames({"m", "n", "a_block", "tf32"})
    ->Args({1024, 8192, 2, 1})   // k, v
    ->Args({8192, 8192, 2, 1})   // q, o
    ->Args({28672, 8192, 2, 1})  // gate, up
    ->Args({8192, 28672, 1, 1})  // down
    ->Iterations(1)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace subbit::bench

BENCHMARK_MAIN();
