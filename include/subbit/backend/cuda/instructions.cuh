// The GPU's instructions of gpu/device/instructions.hpp. Those here exist from sm_80 on.
#pragma once

#include <subbit/backend/cuda/block.cuh>
#include <subbit/backend/cuda/warpgroup_products.cuh>
#include <subbit/backend/gpu/device/instructions.hpp>

#include <cstdint>

namespace subbit::cuda_detail {

__device__ inline void multiply_add(block&, std::int32_t (&sums)[4], const gpu::sign_fragment& signs,
                                    const gpu::digit_fragment& digits) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(signs.word[0]), "r"(signs.word[1]), "r"(signs.word[2]), "r"(signs.word[3]), "r"(digits.word[0]),
          "r"(digits.word[1]));
}

__device__ inline void count_common(block&, std::int32_t (&counts)[4], const gpu::sign_fragment& signs,
                                    const gpu::digit_fragment& planes) {
    asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
        "%1, %2, %3};"
        : "+r"(counts[0]), "+r"(counts[1]), "+r"(counts[2]), "+r"(counts[3])
        : "r"(signs.word[0]), "r"(signs.word[1]), "r"(signs.word[2]), "r"(signs.word[3]), "r"(planes.word[0]),
          "r"(planes.word[1]));
}

__device__ inline std::uint32_t pick_bytes(const block&, std::uint32_t x, std::uint32_t y, std::uint32_t selector) {
    return __byte_perm(x, y, selector);
}

__device__ inline std::int32_t byte_sum(const block&, std::uint32_t bytes) {
    return __dp4a(static_cast<int>(bytes), 0x01010101, 0);
}

__device__ inline std::int32_t multiply_bytes(const block&, std::uint32_t bytes, std::uint32_t first,
                                              std::uint32_t second, std::int32_t sum) {
    const auto w = static_cast<int>(bytes);
    return __dp2a_hi(static_cast<int>(second), w, __dp2a_lo(static_cast<int>(first), w, sum));
}

/// 16 bytes past the L1 cache, which is left to what is read again. Volatile: it stays ahead of what it is written
/// ahead of.
template <class T>
__device__ T load_once(const block&, const T* address) {
    static_assert(sizeof(T) == 16 && alignof(T) == 16);
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(address));
    return __builtin_bit_cast(T, x);
}

__device__ inline void copy_async(const block&, void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
                 "l"(from)
                 : "memory");
}
__device__ inline void commit_copies(const block&) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int Pending>
__device__ void wait_for_copies(const block&, gpu::pending_copies<Pending>) {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// (~bits & 0x80008000) | 0x3f803f80, which the compiler does not make one instruction by itself.
__device__ inline std::uint32_t unit_pair(const block&, std::uint32_t bits) {
    std::uint32_t pair;
    asm("lop3.b32 %0, %1, %2, %3, 0xae;" : "=r"(pair) : "r"(bits), "r"(0x80008000u), "r"(0x3f803f80u));
    return pair;
}
__device__ inline std::uint32_t rounded_pair(const block&, float low, float high) {
    std::uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/// device.cuh launches a kernel so that it may have to wait only where its code does.
__device__ inline void wait_for_predecessor(const block&) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace subbit::cuda_detail
