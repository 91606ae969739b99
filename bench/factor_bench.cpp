// LB-ADMM against the dense product of the same machine; the flop formula is in bench/README.md.
#include <subbit/factor/lb_admm.hpp>

#include "bench_support.hpp"
#include "eigen_native.hpp"

namespace subbit::bench {
namespace {

/// 4mnr for the two right-hand sides, r^2 (m+n) for the two Gram matrices (one triangle), 2r^2 (m+n) for the two pairs
/// of triangular solves and 2/3 r^3 for the two Cholesky factorizations. Element-wise work is not counted.
double admm_flops(index m, index n, index r) {
    return 4 * product_of(m, n, r) + 3 * product_of(r, r, m + n) + 2.0 / 3.0 * product_of(r, r, r);
}

/// Arguments: iterations K, threads, improved (0 or 1), bfloat16 products (0 or 1).
void lb_admm_of(benchmark::State& state, index m, index n, index r) {
    const auto W = random_matrix<float>(m, n, 1);
    const auto K = static_cast<int>(state.range(0));
    const cpu backend(
        {.threads = static_cast<int>(state.range(1)), .products = state.range(3) ? precision::bf16 : precision::f32});
    const auto iteration = state.range(2) ? admm_iteration(improved_iteration{}) : paper_iteration{};
    double error = 0;
    for (auto _ : state)
        error = lb_admm(backend, W, {.rank = r, .iterations = K, .iteration = iteration}).error;
    report_rate(state, "FLOP/s", admm_flops(m, n, r) * K);
    state.counters["error"] = error;
}
void lb_admm_1536x576_r384(benchmark::State& state) {
    lb_admm_of(state, 1536, 576, 384);
}
BENCHMARK(lb_admm_1536x576_r384)
    ->ArgNames({"K", "threads", "improved", "bf16"})
    ->Args({400, 1, 0, 0})
    ->Args({400, 2, 0, 0})
    ->Args({100, 1, 1, 0})
    ->Args({100, 2, 1, 0})
    ->Args({100, 2, 1, 1})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

/// What a GPU is compared with (bench/gpu): a few of the 400 iterations, for they all take the same time.
void lb_admm_4096x4096_r2032(benchmark::State& state) {
    lb_admm_of(state, 4096, 4096, 2032);
}
BENCHMARK(lb_admm_4096x4096_r2032)
    ->ArgNames({"K", "threads", "improved", "bf16"})
    ->Args({4, 2, 0, 0})
    ->Args({12, 2, 0, 0})
    ->Iterations(1)
    ->UseRealTime()
    ->Unit(benchmark::kSecond);

/// The product of an iteration's first right-hand side by Eigen, compiled for this machine. Argument: threads.
void eigen_sgemm_1536x576x384(benchmark::State& state) {
    const auto threads = static_cast<int>(state.range(0));
    if (eigen_use_threads(threads) != threads) return state.SkipWithError("Eigen was built without OpenMP");
    const auto T = random_matrix<float>(1536, 576, 1), X = random_matrix<float>(576, 384, 2);
    matrix<float> Y(1536, 384);
    for (auto _ : state) {
        eigen_gemm(T.data(), X.data(), Y.data(), 1536, 576, 384);
        benchmark::DoNotOptimize(Y.data());
    }
    report_rate(state, "FLOP/s", 2 * product_of(1536, 576, 384));
}
BENCHMARK(eigen_sgemm_1536x576x384)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Arguments: m, n, r. One round of bit descent over both factors, scales included, from the signs of random factors.
void bit_descent_round(benchmark::State& state) {
    const index m = state.range(0), n = state.range(1), r = state.range(2);
    const cpu backend;
    const auto T = random_matrix<float>(m, n, 1);
    const auto factors = signs_and_scales<cpu, float>(backend, scale_form::two, random_matrix<float>(m, r, 2),
                                                      random_matrix<float>(n, r, 3));
    const double total = squared_norm(backend, T);
    fit_workspace<cpu, float> work(backend, m, n, r);
    for (auto _ : state) {
        state.PauseTiming();
        auto start = factors;
        state.ResumeTiming();
        descend(backend, T, total, start, {.max_rounds = 1}, work);
    }
}
BENCHMARK(bit_descent_round)
    ->ArgNames({"m", "n", "r"})
    ->Args({576, 576, 272})
    ->Args({1536, 576, 400})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace subbit::bench

BENCHMARK_MAIN();
