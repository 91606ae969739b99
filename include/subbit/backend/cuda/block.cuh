// The GPU's block (gpu/device/block.hpp says what it offers), and the one __global__ function that all kernels go
// through.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subbit::cuda_detail {

/// The block as one thread sees it; how much shared memory it has taken is known at compile time.
class block {
  public:
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    static constexpr bool has_warpgroup_products = true;
#else
    static constexpr bool has_warpgroup_products = false;
#endif

    __device__ subbit::index index() const {
        return blockIdx.x;
    }
    __device__ subbit::index blocks() const {
        return gridDim.x;
    }
    __device__ int thread() const {
        return static_cast<int>(threadIdx.x);
    }
    __device__ int threads() const {
        return static_cast<int>(blockDim.x);
    }
    __device__ int lane() const {
        return thread() % gpu::warp_size;
    }
    __device__ int warp() const {
        return thread() / gpu::warp_size;
    }
    __device__ int warps() const {
        return threads() / gpu::warp_size;
    }

    __device__ void sync() {
        __syncthreads();
    }
    __device__ void sync_warp() {
        __syncwarp();
    }

    template <class T>
    __device__ T* shared(subbit::index count) {
        extern __shared__ __align__(16) unsigned char pool[];
        T* const memory = reinterpret_cast<T*>(pool + shared_used_);
        shared_used_ += (static_cast<std::size_t>(count) * sizeof(T) + 15) / 16 * 16;
        return memory;
    }

    template <class T>
    __device__ T shuffle(T x, int from) {
        return __shfl_sync(all_lanes, x, from);
    }
    template <class T>
    __device__ T shuffle_xor(T x, int mask) {
        return __shfl_xor_sync(all_lanes, x, mask);
    }
    template <class T>
    __device__ T shuffle_down(T x, int by) {
        return __shfl_down_sync(all_lanes, x, by);
    }
    __device__ std::uint32_t ballot(bool condition) {
        return __ballot_sync(all_lanes, condition);
    }

    template <class T, class Op>
    __device__ T warp_reduce(T x, Op op) {
        // 32-bit integers have an instruction for it; their sums and maxima are the same in any order.
        constexpr bool is_word = std::is_integral_v<T> && sizeof(T) == 4;
        if constexpr (is_word && std::is_same_v<Op, gpu::plus>) {
            return __reduce_add_sync(all_lanes, x);
        } else if constexpr (is_word && std::is_same_v<Op, gpu::maximum>) {
            return __reduce_max_sync(all_lanes, x);
        } else {
            for (int mask = gpu::warp_size / 2; mask > 0; mask /= 2)
                x = op(x, shuffle_xor(x, mask));
            return x;
        }
    }
    template <class T, class Op>
    __device__ T reduce(T x, Op op) {
        __shared__ T of_warps[gpu::warp_size];
        x = warp_reduce(x, op);
        if (lane() == 0) of_warps[warp()] = x;
        sync();
        x = of_warps[0];
        for (int w = 1; w < warps(); ++w)
            x = op(x, of_warps[w]);
        sync();  // of_warps may be written again
        return x;
    }
    template <class T>
    __device__ T warp_sum(T x) {
        return warp_reduce(x, gpu::plus{});
    }
    template <class T>
    __device__ T sum(T x) {
        return reduce(x, gpu::plus{});
    }

  private:
    static constexpr unsigned all_lanes = 0xffffffffu;
    std::size_t shared_used_ = 0;
};

template <class Kernel>
__global__ void __launch_bounds__(gpu::most_threads<Kernel>, gpu::least_blocks<Kernel>)
    run_kernel(const __grid_constant__ Kernel kernel) {
    if constexpr (!gpu::needs_warpgroups<Kernel> || block::has_warpgroup_products) {
        block b;
        kernel(b);
    }
}

/// Tells the host whether the code that this GPU runs has warpgroup products.
template <class Int>
__global__ void report_warpgroups(Int* has_products) {
    *has_products = block::has_warpgroup_products;
}

}  // namespace subbit::cuda_detail
