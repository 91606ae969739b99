// Packed products: y = B x and whole low-rank binary layers against the dense products that they replace. weights/s
// counts the entries of B (or of the dense matrix) times the vectors; for a layer r (m + n), and dense_weights/s the m
// n entries that the layer stands for.
#include "bench_support.hpp"
#include "eigen_native.hpp"

namespace subbit::bench {
namespace {

struct shape {
    index m, n;
};

constexpr shape shapes[] = {{1536, 384}, {4096, 4096}, {4096, 14336}, {16384, 16384}};

std::string text(const shape& s) {
    return std::to_string(s.m) + "x" + std::to_string(s.n);
}

bit_matrix random_bits(index rows, index cols, std::uint64_t seed) {
    const random_stream stream(seed);
    bit_matrix bits(rows, cols);
    for (index i = 0; i < rows; ++i)
        for (index j = 0; j < cols; ++j)
            bits.set(i, j, (stream.bits(static_cast<std::uint64_t>((i * cols + j) / 32)) >> (j % 32) & 1u) != 0);
    return bits;
}

void add_packed(const shape& s, isa instructions, int threads, index vectors) {
    const std::string name = "packed/" + text(s) + "/" + isa_name(instructions) +
                             "/threads:" + std::to_string(threads) + "/vectors:" + std::to_string(vectors);
    add(
        name,
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads, .instructions = instructions});
            const bit_matrix bits = random_bits(s.m, s.n, 1);
            const auto X = random_matrix<float>(vectors, s.n, 2);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                gemm(b, X, bits.t(), Y);
                benchmark::ClobberMemory();
            }
            report_rate(state, "weights/s", product_of(s.m, s.n, vectors));
        },
        threads);
}

void add_dense(const shape& s) {
    const auto run = [=](benchmark::State& state, auto&& multiply) {
        const auto W = random_matrix<float>(s.m, s.n, 1), x = random_matrix<float>(s.n, 1, 2);
        matrix<float> y(s.m, 1);
        for (auto _ : state) {
            multiply(W, x, y);
            benchmark::ClobberMemory();
        }
        report_rate(state, "weights/s", product_of(s.m, s.n));
    };
    add("eigen_gemv/" + text(s), [=](benchmark::State& state) {
        run(state, [&](const auto& W, const auto& x, auto& y) { eigen_gemv(W.data(), x.data(), y.data(), s.m, s.n); });
    });
#if defined(SUBBIT_BENCH_OPENBLAS)
    add("openblas_sgemv/" + text(s), [=](benchmark::State& state) {
        openblas_set_num_threads(1);
        run(state, [&](const auto& W, const auto& x, auto& y) {
            cblas_sgemv(CblasRowMajor, CblasNoTrans, static_cast<int>(s.m), static_cast<int>(s.n), 1.0F, W.data(),
                        static_cast<int>(s.n), x.data(), 1, 0.0F, y.data(), 1);
        });
    });
#endif
}

/// A layer of about one bit a weight.
void add_layer(const shape& s, int threads, index vectors) {
    const std::string name =
        "layer/" + text(s) + "/threads:" + std::to_string(threads) + "/vectors:" + std::to_string(vectors);
    add(
        name,
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads});
            const index r = s.m * s.n / (s.m + s.n) - 16;
            const low_rank_binary_linear<float> layer{.U = random_bits(s.m, r, 1),
                                                      .V = random_bits(r, s.n, 2),
                                                      .s_post = random_matrix<float>(s.m, 1, 3),
                                                      .s_pre = random_matrix<float>(s.n, 1, 4),
                                                      .s_mid = {},
                                                      .bias = {}};
            const auto X = random_matrix<float>(vectors, s.n, 5);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                layer.apply(b, X, Y);
                benchmark::ClobberMemory();
            }
            report_rate(state, "weights/s", product_of(r, s.m + s.n, vectors));
            report_rate(state, "dense_weights/s", product_of(s.m, s.n, vectors));
        },
        threads);
}

/// A residual layer: one product a path.
void add_paths(const shape& s, index paths, int threads, index vectors) {
    const std::string name = "paths:" + std::to_string(paths) + "/" + text(s) + "/threads:" + std::to_string(threads) +
                             "/vectors:" + std::to_string(vectors);
    add(
        name,
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads});
            residual_binary_linear<float> layer;
            for (std::uint64_t p = 0; p < static_cast<std::uint64_t>(paths); ++p)
                layer.paths.push_back({random_bits(s.m, s.n, 10 * p + 1), random_matrix<float>(s.m, 1, 10 * p + 2),
                                       random_matrix<float>(s.n, 1, 10 * p + 3)});
            const auto X = random_matrix<float>(vectors, s.n, 5);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                layer.apply(b, X, Y);
                benchmark::ClobberMemory();
            }
            report_rate(state, "weights/s", product_of(s.m, s.n, paths * vectors));
            report_rate(state, "dense_weights/s", product_of(s.m, s.n, vectors));
        },
        threads);
}

void add_packing(const shape& s) {
    add("pack/" + text(s), [=](benchmark::State& state) {
        const auto W = random_matrix<float>(s.m, s.n, 1);
        for (auto _ : state)
            benchmark::DoNotOptimize(bit_matrix::pack(W));
        report_rate(state, "weights/s", product_of(s.m, s.n));
    });
    add("unpack/" + text(s), [=](benchmark::State& state) {
        const bit_matrix bits = random_bits(s.m, s.n, 1);
        matrix<float> W(s.m, s.n);
        for (auto _ : state) {
            unpack_into(bits.view(), view(W));
            benchmark::ClobberMemory();
        }
        report_rate(state, "weights/s", product_of(s.m, s.n));
    });
    add("transpose/" + text(s), [=](benchmark::State& state) {
        const bit_matrix bits = random_bits(s.m, s.n, 1);
        for (auto _ : state)
            benchmark::DoNotOptimize(bits.transpose());
        report_rate(state, "weights/s", product_of(s.m, s.n));
    });
}

}  // namespace
}  // namespace subbit::bench

int main(int argc, char** argv) {
    using namespace subbit::bench;
    for (const auto& s : shapes) {
        for (const subbit::isa i : {subbit::isa::portable, subbit::isa::avx2, subbit::isa::avx512})
            if (i <= subbit::detect_isa()) add_packed(s, i, 1, 1);
        for (const int vectors : {1, 4}) {
            add_packed(s, subbit::detect_isa(), 2, vectors);
            add_layer(s, 1, vectors);
            add_paths(s, 2, 1, vectors);
        }
        add_packed(s, subbit::detect_isa(), 1, 4);
        add_dense(s);
    }
    add_packed({1536, 384}, subbit::detect_isa(), 1, 256);
    add_packed({1536, 384}, subbit::detect_isa(), 2, 256);
    add_packing({1536, 384});
    eigen_use_threads(1);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
