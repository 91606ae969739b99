// Dense products: ours in float32 and bfloat16 against Eigen (built for this machine) and OpenBLAS, on the shapes that
// factorizing and tuning SmolLM2 consists of. FLOP/s = 2 m k n / time.
#include "bench_support.hpp"
#include "eigen_native.hpp"

namespace subbit::bench {
namespace {

struct shape {
    const char* use;
    index m, k, n;
};

constexpr shape shapes[] = {{"rank_from_inputs", 256, 576, 402},
                            {"rank_to_inner", 256, 402, 1536},
                            {"weight_gradient", 402, 256, 1536},
                            {"admm_step", 1536, 576, 384},
                            {"dense_layer", 512, 576, 1536},
                            {"attention_scores", 256, 64, 256},
                            {"head", 512, 576, 49152}};

template <class Multiply>
void time_product(benchmark::State& state, const shape& s, Multiply&& multiply) {
    const auto A = random_matrix<float>(s.m, s.k, 1), X = random_matrix<float>(s.k, s.n, 2);
    matrix<float> C(s.m, s.n);
    for (auto _ : state) {
        multiply(A, X, C);
        benchmark::ClobberMemory();
    }
    report_rate(state, "FLOP/s", 2 * product_of(s.m, s.k, s.n));
}

std::string threads_text(int threads) {
    return "/threads:" + std::to_string(threads);
}

std::string product_name(const shape& s, const std::string& who) {
    return std::string("gemm/") + s.use + "/" + who;
}

void add_ours(const shape& s, const std::string& name, cpu_options options) {
    const auto run = [=](benchmark::State& state) {
        const cpu b(options);
        time_product(state, s, [&](const auto& A, const auto& X, auto& C) { gemm(b, A, X, C); });
    };
    add(product_name(s, name) + threads_text(options.threads), run, options.threads);
}

/// Both operands stored the other way round.
void add_ours_transposed(const shape& s) {
    add(product_name(s, "ours_f32_transposed") + threads_text(1), [=](benchmark::State& state) {
        const cpu b(cpu_options{.threads = 1});
        const auto A = random_matrix<float>(s.k, s.m, 1), X = random_matrix<float>(s.n, s.k, 2);
        matrix<float> C(s.m, s.n);
        for (auto _ : state) {
            gemm(b, view(A).t(), view(X).t(), C);
            benchmark::ClobberMemory();
        }
        report_rate(state, "FLOP/s", 2 * product_of(s.m, s.k, s.n));
    });
}

void add_others(const shape& s) {
    add(product_name(s, "eigen") + threads_text(1), [=](benchmark::State& state) {
        time_product(state, s, [&](const auto& A, const auto& X, auto& C) {
            eigen_gemm(A.data(), X.data(), C.data(), s.m, s.k, s.n);
        });
    });
#if defined(SUBBIT_BENCH_OPENBLAS)
    add(product_name(s, "openblas") + threads_text(1), [=](benchmark::State& state) {
        openblas_set_num_threads(1);
        time_product(state, s, [&](const auto& A, const auto& X, auto& C) {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(s.m), static_cast<int>(s.n),
                        static_cast<int>(s.k), 1.0F, A.data(), static_cast<int>(s.k), X.data(), static_cast<int>(s.n),
                        0.0F, C.data(), static_cast<int>(s.n));
        });
    });
#endif
}

/// The rest of an ADMM step: the Gram matrix of a factor and the solve with it.
void add_solve(int threads) {
    constexpr index n = 1536, k = 384;
    const auto run_gram = [=](benchmark::State& state) {
        const cpu b(cpu_options{.threads = threads});
        const auto X = random_matrix<float>(n, k, 1);
        matrix<float> G(k, k);
        for (auto _ : state)
            gram(b, X, G);
        report_rate(state, "FLOP/s", product_of(n, k, k));
    };
    const auto run_solve = [=](benchmark::State& state) {
        const cpu b(cpu_options{.threads = threads});
        const auto X = random_matrix<float>(n, k, 1), R0 = random_matrix<float>(n, k, 2);
        matrix<float> G0(k, k), G, R;
        gram(b, X, G0);
        for (auto _ : state) {
            G = G0;
            R = R0;
            spd_solve(b, G, R);
        }
        report_rate(state, "FLOP/s", 2 * product_of(n, k, k) + product_of(k, k, k) / 3);
    };
    add("gram/1536x384" + threads_text(threads), run_gram, threads);
    add("spd_solve/1536x384" + threads_text(threads), run_solve, threads);
}

}  // namespace
}  // namespace subbit::bench

int main(int argc, char** argv) {
    using namespace subbit::bench;
    for (const auto& s : shapes) {
        for (const int threads : {1, 2}) {
            add_ours(s, "ours_f32", {.threads = threads});
            for (const auto method : subbit::all_bf16_methods)
                if (subbit::has_bf16_method(method, subbit::preferred_isa()))
                    add_ours(s, "ours_bf16_by_" + std::string(subbit::bf16_method_name(method)),
                             {.threads = threads, .products = subbit::precision::bf16, .bf16 = method});
        }
        add_ours_transposed(s);
        add_others(s);
    }
    for (const int threads : {1, 2})
        add_solve(threads);
    eigen_use_threads(1);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
