// What hand-overs between blocks cost, and how fast tensor cores count bits and multiply bytes: what the kernels of few
// vectors are designed by.
#include "gpu_bench.hpp"

#include <cooperative_groups.h>
#include <cstdint>

namespace subbit::bench {
namespace {

const cuda& gpu_backend_of_benches() {
    static const cuda b;
    return b;
}

/// Next to nothing, after the kernel before it: one load of what that one may have written.
template <bool Overlaps>
struct empty_kernel {
    static constexpr bool overlaps = Overlaps;

    std::uint32_t* word;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        if (word[0] == 0x12345678u) word[0] = 0;
    }
};

/// Arguments: blocks. From one kernel of a recorded graph to the next, with programmatic dependent launch or without.
template <bool Overlaps>
void time_boundary(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    auto word = b.scratch<std::uint32_t>(1);
    b.device().clear(word.data(), word.bytes());
    time_recorded(state, b, 200, [&](index) { b.launch({state.range(0)}, empty_kernel<Overlaps>{word.data()}); });
}
void kernel_boundary(benchmark::State& state) {
    time_boundary<false>(state);
}
void overlapped_boundary(benchmark::State& state) {
    time_boundary<true>(state);
}

constexpr int rounds = 1000;

/// All blocks meet at a counter in the device's memory, `rounds` times.
__global__ void meet_in_memory(unsigned* counters, unsigned goal) {
    for (int round = 0; round < rounds; ++round) {
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned* const counter = counters + round % 8 * 32;
            asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
            const unsigned all = goal + static_cast<unsigned>(round / 8 + 1) * gridDim.x;
            unsigned arrived = 0;
            do
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(counter) : "memory");
            while (static_cast<int>(arrived - all) < 0);
        }
        __syncthreads();
    }
}
void grid_barrier(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    auto counters = b.scratch<unsigned>(256);
    b.device().clear(counters.data(), counters.bytes());
    gpu_clock clock(b.device().stream());
    const auto blocks = static_cast<unsigned>(state.range(0));
    unsigned goal = 0;
    for (auto _ : state) {
        state.SetIterationTime(clock.seconds([&] {
            meet_in_memory<<<blocks, 256, 0, b.device().stream()>>>(counters.data(), goal);
        }) / rounds);
        goal += rounds / 8 * blocks;
    }
}

/// The blocks of a cluster write 32 words each into all of their shared memories and meet, `rounds` times.
__global__ void meet_in_cluster(std::uint32_t* out) {
    __shared__ std::uint32_t words[2][512];
    const auto cluster = cooperative_groups::this_cluster();
    std::uint32_t x = threadIdx.x;
    for (int round = 0; round < rounds; ++round) {
        if (threadIdx.x < 32)
            for (unsigned r = 0; r < cluster.num_blocks(); ++r)
                cluster.map_shared_rank(words[round % 2],
                                        static_cast<int>(r))[cluster.block_rank() * 32 + threadIdx.x] = x;
        asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
        x += words[round % 2][threadIdx.x % (cluster.num_blocks() * 32)];
    }
    if (x == 0x12345678u) out[0] = x;
}
void cluster_barrier(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    auto out = b.scratch<std::uint32_t>(1);
    cuda_detail::check(cudaFuncSetAttribute(meet_in_cluster, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
                       "asking for large clusters");
    const auto blocks = static_cast<unsigned>(state.range(0));
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = blocks;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t launch = {};
    launch.gridDim = dim3(blocks);
    launch.blockDim = dim3(256);
    launch.stream = b.device().stream();
    launch.attrs = &cluster;
    launch.numAttrs = 1;
    gpu_clock clock(b.device().stream());
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] {
            cuda_detail::check(cudaLaunchKernelEx(&launch, meet_in_cluster, out.data()), "launching a cluster");
        }) / rounds);
}

/// Products of the tensor cores, eight independent ones in turn, by eight warps of every multiprocessor.
template <bool Bits>
struct products_kernel {
    std::int32_t* out;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        gpu::sign_fragment a;
        gpu::digit_fragment x;
        for (int i = 0; i < 4; ++i)
            a.word[i] = static_cast<std::uint32_t>(block.thread() * 77 + i);
        for (int i = 0; i < 2; ++i)
            x.word[i] = static_cast<std::uint32_t>(block.thread() * 13 + i);
        std::int32_t sums[8][4] = {};
        for (int round = 0; round < rounds; ++round)
            SUBBIT_UNROLL
        for (int p = 0; p < 8; ++p)
            if constexpr (Bits)
                count_common(block, sums[p], a, x);
            else
                multiply_add(block, sums[p], a, x);
        std::int32_t all = 0;
        SUBBIT_UNROLL
        for (int e = 0; e < 32; ++e)
            all += sums[e / 4][e % 4];
        out[block.index() * block.threads() + block.thread()] = all;
    }
};
template <bool Bits>
void time_products(benchmark::State& state) {
    const cuda& b = gpu_backend_of_benches();
    const index blocks = b.device().multiprocessors();
    auto out = b.scratch<std::int32_t>(blocks * 256);
    gpu_clock clock(b.device().stream());
    for (auto _ : state)
        state.SetIterationTime(clock.seconds([&] {
            b.launch({blocks, 256}, products_kernel<Bits>{out.data()});
        }) / (2 * 8 * rounds));
}
/// Time of one m16n8k256 of bits, and of one m16n8k32 of bytes, a scheduler.
void bit_products(benchmark::State& state) {
    time_products<true>(state);
}
void byte_products(benchmark::State& state) {
    time_products<false>(state);
}

void settings(benchmark::internal::Benchmark* bench) {
    bench->Iterations(20)->UseManualTime()->Unit(benchmark::kNanosecond);
}
BENCHMARK(kernel_boundary)->Arg(1)->Arg(132)->Apply(settings);
BENCHMARK(overlapped_boundary)->Arg(1)->Arg(132)->Apply(settings);
BENCHMARK(grid_barrier)->Arg(16)->Arg(132)->Apply(settings);
BENCHMARK(cluster_barrier)->Arg(4)->Arg(8)->Arg(16)->Apply(settings);
BENCHMARK(bit_products)->Apply(settings);
BENCHMARK(byte_products)->Apply(settings);

}  // namespace
}  // namespace subbit::bench

BENCHMARK_MAIN();
