// What the GPU's benches share: time by the GPU's own clock, layers of random signs, and counters.
#pragma once

#include <subbit/backend/cuda.cuh>
#include <subbit/factor/rank_budget.hpp>

#include <benchmark/benchmark.h>
#include <algorithm>
#include <cstdint>
#include <vector>

namespace subbit::bench {

/// A pair of events around work on a stream.
class gpu_clock {
  public:
    explicit gpu_clock(cudaStream_t stream) : stream_(stream) {
        cuda_detail::check(cudaEventCreate(&begin_), "cudaEventCreate");
        cuda_detail::check(cudaEventCreate(&end_), "cudaEventCreate");
    }
    gpu_clock(const gpu_clock&) = delete;
    gpu_clock& operator=(const gpu_clock&) = delete;
    ~gpu_clock() {
        cudaEventDestroy(begin_);
        cudaEventDestroy(end_);
    }
    /// Seconds that the work of f takes.
    template <class F>
    double seconds(F&& f) {
        cuda_detail::check(cudaEventRecord(begin_, stream_), "cudaEventRecord");
        f();
        cuda_detail::check(cudaEventRecord(end_, stream_), "cudaEventRecord");
        cuda_detail::check(cudaEventSynchronize(end_), "cudaEventSynchronize");
        float milliseconds = 0;
        cuda_detail::check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
        return 1e-3 * static_cast<double>(milliseconds);
    }

  private:
    cudaStream_t stream_;
    cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// Times one(i) for i = 0 .. count - 1 as one recorded graph, after a run without recording that fills all workspaces;
/// the time of an iteration is that of one(i). The graph is replayed untimed until the GPU's clock has risen.
template <class F>
void time_recorded(benchmark::State& state, const cuda& b, index count, F&& one) {
    const auto all = [&] {
        for (index i = 0; i < count; ++i)
            one(i);
    };
    all();
    b.synchronize();
    const auto graph = b.device().record(all);
    gpu_clock clock(b.device().stream());
    for (double warm = 0; warm < 0.05;)
        warm += clock.seconds([&] { graph.replay(); });
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] { graph.replay(); }) / static_cast<double>(count));
}

/// How many calls benches that are compared record, whatever the number of their copies: starting a graph takes as long
/// as some of its nodes, and each call gets its share of that.
inline index recorded_calls(index tokens) {
    return tokens <= 16 ? 128 : 32;
}

/// How many operands of these bytes a bench must rotate among, so that none is still in the L2 cache when its turn
/// comes; no more than it has calls, so that those of small layers do stay there, as a small model's do.
inline std::size_t rotating_copies(double bytes, index tokens) {
    constexpr double cache = 50e6;
    return static_cast<std::size_t>(
        std::clamp(4 * cache / bytes + 1, 2.0, static_cast<double>(recorded_calls(tokens))));
}

inline bit_matrix random_signs(index rows, index cols, std::uint64_t seed) {
    const random_stream stream(seed);
    std::vector<std::uint32_t> words(static_cast<std::size_t>(bit_layout::word_count(rows, cols)));
    bit_matrix bits(rows, cols);
    for (index i = 0; i < rows; ++i)
        for (index g = 0; g < bit_layout::col_groups(cols); ++g) {
            const std::uint32_t word = stream.bits(static_cast<std::uint64_t>(i * bit_layout::col_groups(cols) + g));
            const index left = cols - g * bit_layout::tile_cols;
            bits.set_word(i, g, left < 32 ? word & ((1u << left) - 1) : word);
        }
    return bits;
}

/// A layer of random signs in the place of a dense m x n.
inline low_rank_binary_linear<float> random_layer(index m, index n, index rank) {
    const vector<float> ones_m = vector<float>::Ones(m), ones_n = vector<float>::Ones(n);
    return {random_signs(m, rank, 1), random_signs(rank, n, 2), ones_m, ones_n, {}, {}};
}

/// Bytes of a layer's signs.
inline double sign_bytes(index m, index n, index rank) {
    return static_cast<double>(rank) * static_cast<double>(m + n) / 8;
}

/// Reports a rate in units of 10^9 or 10^12 a second, per iteration.
inline void report_rate(benchmark::State& state, const char* name, double per_iteration) {
    state.counters[name] = benchmark::Counter(per_iteration, benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::OneK::kIs1000);
}

}  // namespace subbit::bench
