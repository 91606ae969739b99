// Packed layers on a GPU against cuBLAS's products of bfloat16, and against what the memory can be read at.
#include "gpu_bench.hpp"

#include <cuda_bf16.h>
#include <string>
#include <vector>

namespace subbit::bench {
namespace {

/// With the kernels of sm_90a alone, or with those of every GPU.
const cuda& gpu_backend_of_benches(bool warpgroups = false) {
    static const cuda every(cuda_device({.warpgroups = false})), newest(cuda_device({.warpgroups = true}));
    return warpgroups ? newest : every;
}

/// Reads words as packed kernels do, 16 bytes a lane, and keeps a sum that nobody needs, so that the loads stay.
struct read_kernel {
    const gpu::sign_words* words;
    index count;
    std::uint32_t* out;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        std::uint32_t sum = 0;
        gpu::for_each_thread(block, count, [&](index i) {
            const gpu::sign_words w = load_once(block, words + i);
            sum ^= w.row[0] ^ w.row[1] ^ w.row[2] ^ w.row[3];
        });
        if (sum == 0x12345678u) out[0] = sum;
    }
};

/// Numbers in [-1, 1): the kernels' time does not depend on them, but zeros would be faster.
template <class T>
struct fill_random {
    T* x;
    index count;
    random_stream stream;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        gpu::for_each_thread(block, count, [&](index i) {
            const float whole = static_cast<float>(stream.bits(static_cast<std::uint64_t>(i)) >> 8);
            x[i] = static_cast<T>(whole * 0x1p-23f - 1.0f);
        });
    }
};

/// Activations or weights of the type T.
template <class T>
gpu::buffer<cuda_device, T> random_numbers(const cuda& b, index count) {
    auto x = b.scratch<T>(count);
    b.launch(gpu::cover(count), fill_random<T>{x.data(), count, random_stream(3)});
    return x;
}

/// The ceilings: a copy (bytes read and written) and a read of 2 GiB.
void copy(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    const index bytes = index{1} << 31;
    const auto from = random_numbers<float>(b, bytes / 4);
    auto to = b.scratch<float>(bytes / 4);
    gpu_clock clock(b.device().stream());
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] { b.device().copy_on_device(to.data(), from.data(), to.bytes()); }));
    report_rate(state, "bytes/s", 2 * static_cast<double>(bytes));
}
BENCHMARK(copy)->Iterations(50)->UseManualTime()->Unit(benchmark::kMicrosecond);

void read(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    const index count = index{1} << 27;
    const auto words = random_numbers<float>(b, 4 * count);
    auto out = b.scratch<std::uint32_t>(1);
    gpu_clock clock(b.device().stream());
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] {
            b.launch({132 * 8, 256},
                     read_kernel{reinterpret_cast<const gpu::sign_words*>(words.data()), count, out.data()});
        }));
    report_rate(state, "bytes/s", static_cast<double>(words.bytes()));
}
BENCHMARK(read)->Iterations(50)->UseManualTime()->Unit(benchmark::kMicrosecond);

using layer = low_rank_binary_linear<float, cuda>;
template <class T>
using part = device_layer_output<cuda_device, T>;
using workspace = gpu::packed_workspace<cuda_device, float>;

/// Arguments: m, n, tokens, rank. U V x with its scales; layers rotate, so that their signs come from the memory.
template <class T>
void packed(benchmark::State& state, bool warpgroups, packed_precision precision) {
    const cuda& b = gpu_backend_of_benches(warpgroups);
    if (warpgroups && !b.device().has_warpgroup_products())
        return state.SkipWithError("this GPU, or this program's code, has no warpgroup products");
    const index m = state.range(0), n = state.range(1), tokens = state.range(2), rank = state.range(3);
    const double bytes = sign_bytes(m, n, rank);
    const std::vector<layer> layers(rotating_copies(bytes, tokens), upload(b, random_layer(m, n, rank)));
    const auto x = random_numbers<T>(b, tokens * n);
    auto y = b.scratch<T>(tokens * m);
    workspace work(b);
    time_recorded(state, b, recorded_calls(tokens), [&](index i) {
        const part<T> job{layers[static_cast<std::size_t>(i) % layers.size()], {y.data(), tokens, m}};
        apply_layers(b, matrix_view<const T>(x.data(), tokens, n), std::span<const part<T>>(&job, 1), work,
                     {precision});
    });
    report_rate(state, "sign_bytes/s", bytes);
    report_rate(state, "dense_flops/s", 2.0 * static_cast<double>(m * n * tokens));
}
void packed_float(benchmark::State& state) {
    packed<float>(state, false, packed_precision::exact);
}
void packed_bfloat16(benchmark::State& state) {
    packed<bf16>(state, false, packed_precision::exact);
}
void packed_warpgroups(benchmark::State& state) {
    packed<float>(state, true, packed_precision::exact);
}
void packed_rounded(benchmark::State& state) {
    packed<bf16>(state, true, packed_precision::bf16);
}

/// Arguments: m, n, tokens. The dense layer by cuBLAS, weights and activations in bfloat16, sums in float.
void cublas_bfloat16(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    const index m = state.range(0), n = state.range(1), tokens = state.range(2);
    const double bytes = 2.0 * static_cast<double>(m * n);
    const auto weight = random_numbers<bf16>(b, m * n);
    const std::vector weights(rotating_copies(bytes, tokens), weight);
    const auto x = random_numbers<bf16>(b, tokens * n);
    auto y = b.scratch<bf16>(tokens * m);
    const float one = 1, zero = 0;
    time_recorded(state, b, recorded_calls(tokens), [&](index i) {
        cuda_detail::check(
            cublasGemmEx_64(b.device().blas(), CUBLAS_OP_T, CUBLAS_OP_N, m, tokens, n, &one,
                            weights[static_cast<std::size_t>(i) % weights.size()].data(), CUDA_R_16BF, n, x.data(),
                            CUDA_R_16BF, n, &zero, y.data(), CUDA_R_16BF, m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
            "cublasGemmEx");
    });
    report_rate(state, "weight_bytes/s", bytes);
    report_rate(state, "dense_flops/s", 2.0 * static_cast<double>(m * n * tokens));
}

/// The linear layers of a model, one token: q, k, v as one job, then o, gate and up as one, down; all blocks one after
/// the other, as one graph. Arguments: blocks, width, width of k and v, width of gate and up, bits a weight in
/// hundredths.
void time_model(benchmark::State& state, bool warpgroups) {
    const cuda& b = gpu_backend_of_benches(warpgroups);
    if (warpgroups && !b.device().has_warpgroup_products())
        return state.SkipWithError("this GPU, or this program's code, has no warpgroup products");
    const index blocks = state.range(0), d = state.range(1), kv = state.range(2), ff = state.range(3);
    const bits_per_weight bits{static_cast<double>(state.range(4)) / 100};
    double bytes = 0;  // of a block's signs
    const auto made = [&](index m, index n, double times) {
        const index rank = rank_for(bits, m, n);
        bytes += times * sign_bytes(m, n, rank);
        return upload(b, random_layer(m, n, rank));
    };
    const layer q = made(d, d, 2), k = made(kv, d, 2), up = made(ff, d, 2), down = made(d, ff, 1);
    const std::vector<layer> block = {q, k, k, q, up, up, down};
    const std::vector model(static_cast<std::size_t>(blocks), block);
    const auto x = random_numbers<float>(b, d), wide = random_numbers<float>(b, ff);
    auto y = b.scratch<float>(3 * ff);
    workspace work(b);
    const auto job = [&](const float* input, index n, const std::vector<layer>& layers, std::size_t first,
                         std::size_t count) {
        std::vector<part<float>> parts;
        for (std::size_t l = first; l < first + count; ++l)
            parts.push_back({layers[l], {y.data() + static_cast<index>(l - first) * ff, 1, layers[l].rows()}});
        apply_layers(b, matrix_view<const float>(input, 1, n), std::span<const part<float>>(parts), work);
    };
    time_recorded(state, b, 1, [&](index) {
        for (const auto& layers : model) {
            job(x.data(), d, layers, 0, 3);
            job(x.data(), d, layers, 3, 1);
            job(x.data(), d, layers, 4, 2);
            job(wide.data(), ff, layers, 6, 1);
        }
    });
    report_rate(state, "sign_bytes/s", bytes * static_cast<double>(blocks));
}

void decode_layers(benchmark::State& state) {
    time_model(state, false);
}
void decode_warpgroups(benchmark::State& state) {
    time_model(state, true);
}

struct layer_size {
    int m, n, rank;
};
constexpr layer_size layer_sizes[] = {{8192, 8192, 4080},
                                      {4096, 4096, 2032},
                                      {4096, 14336, 3168},  // 1.0 bit
                                      {576, 576, 256},
                                      {1536, 576, 384}};
constexpr int token_counts[] = {1, 2, 4, 8, 16, 512, 2048};

void packed_rows(benchmark::internal::Benchmark* bench) {
    for (const auto& [m, n, rank] : layer_sizes)
        for (const int tokens : token_counts)
            bench->Args({m, n, tokens, rank});
    bench->Args({8192, 8192, 1, 2232})->ArgNames({"m", "n", "tokens", "rank"});  // 0.55 bit
    bench->Iterations(20)->UseManualTime()->Unit(benchmark::kMicrosecond);
}
void dense_rows(benchmark::internal::Benchmark* bench) {
    for (const auto& [m, n, rank] : layer_sizes)
        for (const int tokens : token_counts)
            bench->Args({m, n, tokens});
    bench->ArgNames({"m", "n", "tokens"})->Iterations(20)->UseManualTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK(packed_float)->Apply(packed_rows);
BENCHMARK(packed_bfloat16)->Apply(packed_rows);
BENCHMARK(packed_warpgroups)->Apply(packed_rows);
BENCHMARK(packed_rounded)->Apply(packed_rows);
BENCHMARK(cublas_bfloat16)->Apply(dense_rows);

void models(benchmark::internal::Benchmark* bench) {
    bench->ArgNames({"blocks", "width", "kv", "ff", "bits_x100"})
        ->Args({30, 576, 192, 1536, 100})     // SmolLM2-135M
        ->Args({32, 4096, 4096, 11008, 100})  // Llama-2-7B
        ->Args({32, 4096, 1024, 14336, 100})  // Llama-3-8B
        ->Args({8, 8192, 1024, 28672, 100})   // Llama-2-70B, a tenth of its blocks
        ->Iterations(20)
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
}
BENCHMARK(decode_layers)->Apply(models);
BENCHMARK(decode_warpgroups)->Apply(models);

}  // namespace
}  // namespace subbit::bench

BENCHMARK_MAIN();
