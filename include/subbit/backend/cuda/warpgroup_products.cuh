// The products of a warpgroup and the bulk copies of gpu/device/instructions.hpp: wgmma (PTX ISA, "Asynchronous
// warpgroup level matrix instructions") and cp.async.bulk with mbarrier. Code for sm_90a alone has the first;
// block::has_warpgroup_products says whether this code is such.
#pragma once

#include <subbit/backend/cuda/block.cuh>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/packed/core_matrices.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace subbit::cuda_detail {

__device__ inline void commit_products(const block&) {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int Pending>
__device__ void wait_for_products(const block&, gpu::pending_products<Pending>) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
__device__ inline unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
__device__ inline void release_to_bulk(const block&) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void make_arrivals(const block& b, gpu::arrival* arrivals, int count) {
    for (int i = 0; i < count; ++i)
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(arrivals + i)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    release_to_bulk(b);
}
__device__ inline void copy_bulk(const block&, void* to, const void* from, int bytes, gpu::arrival& a) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&a)), "r"(bytes)
                 : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(&a))
                 : "memory");
}
__device__ inline void wait_for_bulk(const block&, gpu::arrival& a, int parity) {
    unsigned done = 0;
    while (done == 0)
        asm volatile(
            "{\n.reg .pred done;\nmbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
            "selp.u32 %0, 1, 0, done;\n}\n"
            : "=r"(done)
            : "r"(shared_address(&a)), "r"(parity)
            : "memory");
}

/// A statement for each register: what writes it stays ahead of them, what reads it behind.
template <class Word, std::size_t Size>
__device__ void hold(Word (&words)[Size]) {
    SUBBIT_UNROLL
    for (std::size_t i = 0; i < Size; ++i)
        if constexpr (std::is_same_v<Word, float>)
            asm volatile("" : "+f"(words[i])::"memory");
        else
            asm volatile("" : "+r"(words[i])::"memory");
}
template <class... Signs>
__device__ void begin_products(const block&, Signs&... signs) {
    (hold(signs.word), ...);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
template <class... Sums>
__device__ void finish_products(const block& b, Sums&... sums) {
    wait_for_products(b, gpu::pending_products<0>());
    (hold(sums), ...);
}

/// The descriptor of an operand that lies as core_matrices says: bits 0 to 13 its address, 16 to 29 the distance to the
/// next 16 bytes of a column, 32 to 45 that to the next 8 columns, each in units of 16 bytes; no swizzling.
template <int Columns>
__device__ std::uint64_t operand_descriptor(const std::uint32_t* columns) {
    constexpr std::uint64_t strides = std::uint64_t{gpu::core_matrices::piece_stride(Columns) / 16} << 16 |
                                      std::uint64_t{gpu::core_matrices::group_stride / 16} << 32;
    return strides | (shared_address(columns) >> 4 & 0x3fffu);
}

// The registers of 8, .. sums, and their names in an instruction.
#define SUBBIT_SUMS_8(c, s, i) \
    c(s[i]), c(s[i + 1]), c(s[i + 2]), c(s[i + 3]), c(s[i + 4]), c(s[i + 5]), c(s[i + 6]), c(s[i + 7])
#define SUBBIT_SUMS_16(c, s, i) SUBBIT_SUMS_8(c, s, i), SUBBIT_SUMS_8(c, s, i + 8)
#define SUBBIT_SUMS_24(c, s, i) SUBBIT_SUMS_16(c, s, i), SUBBIT_SUMS_8(c, s, i + 16)
#define SUBBIT_SUMS_32(c, s, i) SUBBIT_SUMS_16(c, s, i), SUBBIT_SUMS_16(c, s, i + 16)
#define SUBBIT_SUMS_48(c, s, i) SUBBIT_SUMS_32(c, s, i), SUBBIT_SUMS_16(c, s, i + 32)
#define SUBBIT_SUMS_64(c, s, i) SUBBIT_SUMS_32(c, s, i), SUBBIT_SUMS_32(c, s, i + 32)
#define SUBBIT_SUMS_96(c, s, i) SUBBIT_SUMS_64(c, s, i), SUBBIT_SUMS_32(c, s, i + 64)
#define SUBBIT_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define SUBBIT_NAMES_24 SUBBIT_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define SUBBIT_NAMES_32 SUBBIT_NAMES_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define SUBBIT_NAMES_48 \
    SUBBIT_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define SUBBIT_NAMES_64 \
    SUBBIT_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SUBBIT_NAMES_96                                                                                           \
    SUBBIT_NAMES_64                                                                                               \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, " \
    "%85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"

// One instruction of so many columns, half as many sums a lane; `signs` and `columns` are the names after the sums'.
#define SUBBIT_PRODUCT(Sum, constraint, count, shape, signs_names, columns_name, factors)                     \
    __device__ inline void add_products(block&, Sum(&sums)[count], const gpu::sign_fragment& signs,           \
                                        const std::uint32_t* columns) {                                       \
        asm volatile("{\n.reg .pred add;\nsetp.eq.u32 add, 1, 1;\nwgmma.mma_async.sync.aligned." shape        \
                     " {" SUBBIT_NAMES_##count "}, {" signs_names "}, " columns_name ", add" factors ";\n}\n" \
                     : SUBBIT_SUMS_##count(constraint, sums, 0)                                               \
                     : "r"(signs.word[0]), "r"(signs.word[1]), "r"(signs.word[2]), "r"(signs.word[3]),        \
                       "l"(operand_descriptor<2 * count>(columns)));                                          \
    }
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
SUBBIT_PRODUCT(std::int32_t, "+r", 24, "m64n48k32.s32.u8.s8", "%24, %25, %26, %27", "%28", "")
SUBBIT_PRODUCT(std::int32_t, "+r", 48, "m64n96k32.s32.u8.s8", "%48, %49, %50, %51", "%52", "")
SUBBIT_PRODUCT(std::int32_t, "+r", 96, "m64n192k32.s32.u8.s8", "%96, %97, %98, %99", "%100", "")
SUBBIT_PRODUCT(float, "+f", 16, "m64n32k16.f32.bf16.bf16", "%16, %17, %18, %19", "%20", ", 1, 1, 0")
SUBBIT_PRODUCT(float, "+f", 32, "m64n64k16.f32.bf16.bf16", "%32, %33, %34, %35", "%36", ", 1, 1, 0")
SUBBIT_PRODUCT(float, "+f", 64, "m64n128k16.f32.bf16.bf16", "%64, %65, %66, %67", "%68", ", 1, 1, 0")
#endif
#undef SUBBIT_PRODUCT

}  // namespace subbit::cuda_detail
