// Packed products: y = B x, y = B^T x and whole low-rank binary layers against the dense products that they replace.
// What the counters mean is in README.md.
#include <subbit/backend/cpu/kernels/product_kernels.hpp>

#include "bench_support.hpp"
#include "eigen_native.hpp"

#include <subbit/factor/rank_budget.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string_view>
#include <vector>

namespace subbit::bench {
namespace {

struct shape {
    index m, n;
};

/// The products by themselves; the last one's bits, 64 MiB, are in memory.
constexpr shape product_shapes[] = {{1536, 384}, {4096, 4096}, {4096, 14336}, {16384, 16384}, {32768, 16384}};

/// The linear layers of SmolLM2-135M, Llama-2-7B and Llama-3-70B.
constexpr shape layer_shapes[] = {{576, 576},    {192, 576},   {1536, 576},  {576, 1536},   {4096, 4096}, {11008, 4096},
                                  {4096, 11008}, {8192, 8192}, {1024, 8192}, {28672, 8192}, {8192, 28672}};
constexpr double rates[] = {0.55, 0.8, 1.0, 2.0};

constexpr index prefill_tokens = 128;

std::string text(const shape& s) {
    return std::to_string(s.m) + "x" + std::to_string(s.n);
}

std::string text(isa instructions, packed_precision precision, int threads, index vectors) {
    constexpr const char* names[] = {"/exact", "/reordered", "/int8"};
    return std::string("/") + isa_name(instructions) + names[static_cast<std::size_t>(precision)] +
           "/threads:" + std::to_string(threads) + "/vectors:" + std::to_string(vectors);
}

bit_matrix random_bits(index rows, index cols, std::uint64_t seed) {
    const random_stream stream(seed);
    std::vector<std::uint32_t> words(static_cast<std::size_t>(bit_layout::word_count(rows, cols)));
    const index groups = bit_layout::col_groups(cols), tail = cols % bit_layout::tile_cols;
    for (index i = 0; i < std::ssize(words); ++i) {
        const index row = i / (16 * groups) * 16 + i % 16, group = i / 16 % groups;
        const std::uint32_t used = row >= rows ? 0U : tail != 0 && group == groups - 1 ? (1U << tail) - 1 : ~0U;
        words[static_cast<std::size_t>(i)] =
            static_cast<std::uint32_t>(stream.bits(static_cast<std::uint64_t>(i))) & used;
    }
    return bit_matrix::from_words(rows, cols, words);
}

/// What one thread reads a second from 256 MiB: the best of a few passes.
double read_bandwidth() {
    static const double measured = [] {
        const std::vector<std::uint64_t> memory(std::size_t{32} << 20, 1);
        double best = 0;
        for (int pass = 0; pass < 8; ++pass) {
            const auto start = std::chrono::steady_clock::now();
            lanes<double> sums[4] = {};
            for (std::size_t i = 0; i < memory.size(); i += 32)
                for (std::size_t k = 0; k < 4; ++k) {
                    lanes<double> x;
                    x.load(reinterpret_cast<const double*>(memory.data() + i + 8 * k), 8);
                    sums[k].add(x);
                }
            benchmark::DoNotOptimize(sums);
            const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
            best = std::max(best, static_cast<double>(memory.size() * sizeof(std::uint64_t)) / time.count());
        }
        return best;
    }();
    return measured;
}

/// The counters of a product: `weights` signs in `words` words, each read once for every `at_once` of `vectors`.
void report_product(benchmark::State& state, double weights, double words, index vectors, double error) {
    report_rate(state, "weights/s", weights * static_cast<double>(vectors));
    report_rate(state, "bits_bytes/s", 4 * words);
    state.counters["read_share"] =
        benchmark::Counter(4 * words / read_bandwidth(), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["error"] = error;
}

double relative_error(const matrix<float>& got, const matrix<double>& exact) {
    return (got.cast<double>() - exact).norm() / exact.norm();
}

/// y = B x for B (m,n), or y = B^T x for B (n,m).
void add_product(const shape& s, isa instructions, packed_precision precision, int threads, index vectors,
                 bool transposed) {
    const std::string name =
        (transposed ? "transposed/" : "product/") + text(s) + text(instructions, precision, threads, vectors);
    add(
        name,
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads, .instructions = instructions});
            const bit_matrix bits = transposed ? random_bits(s.n, s.m, 1) : random_bits(s.m, s.n, 1);
            const auto X = random_matrix<float>(vectors, s.n, 2);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                // Past gemm, which is always exact: 8-bit products by themselves are not offered, only whole layers.
                cpu_kernels::with_packed_kernel<float>(b, precision, [&](auto arch, auto kernel) {
                    cpu_kernels::packed_gemm<decltype(kernel)>(arch, b.exec(), const_view(X), bits.view(), transposed,
                                                               view(Y), 1.0F, 0.0F);
                });
                benchmark::ClobberMemory();
            }
            matrix<double> exact(1, s.m);
            const cpu check(cpu_options{.threads = 1});
            const matrix<double> x = X.row(0).cast<double>();
            if (transposed)
                gemm(check, x, bits.view(), exact);
            else
                gemm(check, x, bits.t(), exact);
            report_product(state, product_of(s.m, s.n), static_cast<double>(bits.word_count()), vectors,
                           relative_error(Y.row(0), exact));
        },
        threads);
}

/// A layer that stands for m x n weights, at about `rate` bits a weight.
void add_layer(const shape& s, double rate, isa instructions, packed_precision precision, int threads, index vectors) {
    const std::string rate_text = std::to_string(rate).substr(0, 4);
    add(
        "layer/" + text(s) + "/bpw:" + rate_text + text(instructions, precision, threads, vectors),
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads, .instructions = instructions});
            const double scales = 16 * static_cast<double>(s.m + s.n);
            const auto r = static_cast<index>((rate * product_of(s.m, s.n) - scales) / static_cast<double>(s.m + s.n));
            const low_rank_binary_linear<float> layer{.U = random_bits(s.m, r, 1),
                                                      .V = random_bits(r, s.n, 2),
                                                      .s_post = random_matrix<float>(s.m, 1, 3),
                                                      .s_pre = random_matrix<float>(s.n, 1, 4),
                                                      .s_mid = {},
                                                      .bias = {}};
            const auto X = random_matrix<float>(vectors, s.n, 5);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                layer.apply(b, X, Y, {.precision = precision});
                benchmark::ClobberMemory();
            }
            matrix<float> exact;
            layer.apply(cpu(cpu_options{.threads = 1, .instructions = isa::portable}), matrix<float>(X.row(0)), exact);
            report_product(state, product_of(r, s.m + s.n),
                           static_cast<double>(layer.U.word_count() + layer.V.word_count()), vectors,
                           relative_error(Y.row(0), exact.cast<double>()));
            report_rate(state, "dense_weights/s", product_of(s.m, s.n, vectors));
        },
        threads);
}

/// A residual layer: one product a path.
void add_paths(const shape& s, index paths, packed_precision precision, int threads, index vectors) {
    add(
        "paths:" + std::to_string(paths) + "/" + text(s) + text(detect_isa(), precision, threads, vectors),
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads});
            residual_binary_linear<float> layer;
            for (std::uint64_t p = 0; p < static_cast<std::uint64_t>(paths); ++p)
                layer.paths.push_back({random_bits(s.m, s.n, 10 * p + 1), random_matrix<float>(s.m, 1, 10 * p + 2),
                                       random_matrix<float>(s.n, 1, 10 * p + 3)});
            const auto X = random_matrix<float>(vectors, s.n, 5);
            matrix<float> Y(vectors, s.m);
            for (auto _ : state) {
                layer.apply(b, X, Y, {.precision = precision});
                benchmark::ClobberMemory();
            }
            report_rate(state, "weights/s", product_of(s.m, s.n, paths * vectors));
            report_rate(state, "dense_weights/s", product_of(s.m, s.n, vectors));
        },
        threads);
}

/// The dense product of a matrix with one vector or several, by Eigen and by OpenBLAS, on one thread.
void add_dense(const shape& s, index vectors) {
    const auto run = [=](benchmark::State& state, auto&& multiply) {
        const auto W = random_matrix<float>(s.m, s.n, 1), X = random_matrix<float>(vectors, s.n, 2);
        const matrix<float> turned = X.transpose();
        matrix<float> Y(s.m, vectors);
        for (auto _ : state) {
            multiply(W.data(), X.data(), turned.data(), Y.data());
            benchmark::ClobberMemory();
        }
        report_rate(state, "weights/s", product_of(s.m, s.n, vectors));
    };
    const std::string name = "/" + text(s) + "/vectors:" + std::to_string(vectors);
    add("eigen" + name, [=](benchmark::State& state) {
        run(state, [&](const float* W, const float* x, const float* turned, float* y) {
            vectors == 1 ? eigen_gemv(W, x, y, s.m, s.n) : eigen_gemm(W, turned, y, s.m, s.n, vectors);
        });
    });
#if defined(SUBBIT_BENCH_OPENBLAS)
    add("openblas" + name, [=](benchmark::State& state) {
        openblas_set_num_threads(1);
        const int m = static_cast<int>(s.m), n = static_cast<int>(s.n), v = static_cast<int>(vectors);
        run(state, [&](const float* W, const float* x, const float*, float* y) {
            if (v == 1)
                cblas_sgemv(CblasRowMajor, CblasNoTrans, m, n, 1.0F, W, n, x, 1, 0.0F, y, 1);
            else
                cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, v, n, 1.0F, W, n, x, n, 0.0F, y, v);
        });
    });
#endif
}

/// Three layers that read one input, as q, k and v do: one job, or one after the other.
void add_several(index width, index few, int threads, bool together) {
    const std::string name = std::string("several/") + (together ? "job" : "apart") + "/" + std::to_string(width) +
                             "/threads:" + std::to_string(threads);
    add(
        name,
        [=](benchmark::State& state) {
            const cpu b(cpu_options{.threads = threads});
            const auto make = [&](index m) {
                const index r = m * width / (m + width) - 16;
                return low_rank_binary_linear<float>{.U = random_bits(m, r, 1),
                                                     .V = random_bits(r, width, 2),
                                                     .s_post = random_matrix<float>(m, 1, 3),
                                                     .s_pre = random_matrix<float>(width, 1, 4),
                                                     .s_mid = {},
                                                     .bias = {}};
            };
            const auto q = make(width), k = make(few), v = make(few);
            const auto X = random_matrix<float>(1, width, 5);
            matrix<float> Q(1, width), K(1, few), V(1, few);
            for (auto _ : state) {
                if (together) {
                    apply_layers(b, const_view(X), {{q, view(Q)}, {k, view(K)}, {v, view(V)}});
                } else {
                    q.apply(b, X, Q);
                    k.apply(b, X, K);
                    v.apply(b, X, V);
                }
                benchmark::ClobberMemory();
            }
            report_rate(state, "dense_weights/s", product_of(width, width + 2 * few));
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

void add_all() {
    const isa widest = detect_isa();
    const auto runnable = [&](auto&& f) {
        for (const isa i : all_isas)
            if (has_isa(i)) f(i);
    };
    for (const auto& s : product_shapes) {
        runnable([&](isa i) {
            for (const bool transposed : {false, true})
                add_product(s, i, packed_precision::exact, 1, 1, transposed);
            add_product(s, i, packed_precision::int8, 1, 1, false);
        });
        for (const bool transposed : {false, true}) {
            add_product(s, widest, packed_precision::exact, 2, 1, transposed);
            add_product(s, widest, packed_precision::exact, 1, 4, transposed);
        }
        add_dense(s, 1);
    }
    for (const auto& s : layer_shapes) {
        for (const auto precision : {packed_precision::exact, packed_precision::int8}) {
            for (const double rate : rates)
                add_layer(s, rate, widest, precision, 1, 1);
            runnable([&](isa i) {
                if (i != widest) add_layer(s, 1.0, i, precision, 1, 1);
            });
            add_layer(s, 1.0, widest, precision, 2, 1);
            add_layer(s, 1.0, widest, precision, 1, prefill_tokens);
        }
        for (const auto precision : {packed_precision::exact, packed_precision::int8})
            for (const index vectors : {1, 4})
                add_paths(s, 2, precision, 1, vectors);
        for (const auto precision : {packed_precision::exact, packed_precision::reordered, packed_precision::int8})
            add_paths(s, 2, precision, 1, prefill_tokens);
        add_layer(s, 1.0, widest, packed_precision::exact, 2, prefill_tokens);
        runnable([&](isa i) {
            if (i != widest) add_layer(s, 1.0, i, packed_precision::exact, 1, prefill_tokens);
            add_layer(s, 1.0, i, packed_precision::reordered, 1, prefill_tokens);
        });
        add_dense(s, 1);
        add_dense(s, prefill_tokens);
    }
    for (const int threads : {1, 2})
        for (const bool together : {false, true}) {
            add_several(576, 192, threads, together);
            add_several(4096, 1024, threads, together);
        }
    add_packing({1536, 384});
}

/// A shape of one's own, in place of all others.
struct own_case {
    std::optional<shape> size;
    double bits = 1.0;
    int threads = 1;
    bool others_given = false;  ///< --bits or --threads
};

/// The number that is all of `word`; value_error naming the option otherwise.
template <class T>
T number(std::string_view option, std::string_view word) {
    T value{};
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size() || !(value > 0))
        throw value_error(std::string(option) + " is \"" + std::string(word) + "\", expected a positive number");
    return value;
}

/// Reads --shape MxN, --bits R and --threads T, as two words or with =; value_error for anything else.
own_case parse(int argc, char** argv) {
    own_case own;
    for (int i = 1; i < argc; ++i) {
        std::string_view option = argv[i];
        const auto equals = option.find('=');
        const bool joined = equals != std::string_view::npos;
        const std::string_view value = joined ? option.substr(equals + 1) : i + 1 < argc ? argv[i + 1] : "";
        option = option.substr(0, equals);
        if (option == "--shape") {
            const auto x = value.find('x');
            if (x == std::string_view::npos)
                throw value_error("--shape is \"" + std::string(value) + "\", expected MxN");
            own.size = shape{number<index>(option, value.substr(0, x)), number<index>(option, value.substr(x + 1))};
        } else if (option == "--bits") {
            own.bits = number<double>(option, value);
        } else if (option == "--threads") {
            own.threads = number<int>(option, value);
        } else {
            throw value_error("unknown option " + std::string(argv[i]) +
                              ", expected --shape MxN, --bits R, --threads T or --benchmark_...");
        }
        own.others_given |= option != "--shape";
        if (!joined) ++i;
    }
    if (own.others_given && !own.size) throw value_error("--bits and --threads belong to a --shape MxN");
    if (own.size) rank_for(bits_per_weight{own.bits}, own.size->m, own.size->n, {.granularity = 1});  // enough bits?
    return own;
}

void add_own(const own_case& own) {
    for (const index vectors : {index{1}, prefill_tokens}) {
        for (const auto precision : {packed_precision::exact, packed_precision::int8})
            add_layer(*own.size, own.bits, detect_isa(), precision, own.threads, vectors);
        add_dense(*own.size, vectors);
    }
    for (const index paths : {1, 2})
        add_paths(*own.size, paths, packed_precision::exact, own.threads, 1);
}

}  // namespace
}  // namespace subbit::bench

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);  // takes its own options
    try {
        const auto own = subbit::bench::parse(argc, argv);
        own.size ? subbit::bench::add_own(own) : subbit::bench::add_all();
    } catch (const subbit::error& e) {
        std::fprintf(stderr, "packed_bench: %s\n", e.what());
        return 2;
    }
    subbit::bench::eigen_use_threads(1);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
