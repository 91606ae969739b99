// Which kernels a backend runs: those of its instruction set, its precision and its packed products.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_kernel_amx.hpp>
#include <subbit/backend/cpu/kernels/gemm_kernel_x86.hpp>
#include <subbit/backend/cpu/kernels/gemm_pack_x86.hpp>
#include <subbit/backend/cpu/kernels/gemm_products.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_amx.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_int8.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_many.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_neon.hpp>
#include <subbit/backend/cpu/kernels/packed_kernel_x86.hpp>
#include <subbit/backend/cpu/machine.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>

#include <concepts>

namespace subbit::cpu_kernels {

/// Calls f(arch) with the tag of the backend's instruction set. On ARM that is the portable one: what the compiler
/// makes of loops is NEON anyway, and only products with signs and bytes have kernels of their own.
template <class B, class F>
decltype(auto) with_arch([[maybe_unused]] const B& b, F&& f) {
#if SUBBIT_X86
    if (b.instructions() == isa::avx512) return f(avx512_arch{});
    if (b.instructions() == isa::avx2) return f(avx2_arch{});
#endif
    return f(portable_arch{});
}

/// Calls f(arch, products) with the tags of the backend's instruction set and of its products of S.
template <class S, class B, class F>
void with_products(const B& b, F&& f) {
    if constexpr (std::same_as<S, float>) {
        if (b.products() == precision::bf16) {
#if SUBBIT_X86
            if (b.bf16() == bf16_method::matrix_units) return f(avx512_arch{}, tile_products{});
            if (b.bf16() == bf16_method::instruction) return f(avx512_arch{}, bf16_products{});
#endif
            return with_arch(b, [&](auto arch) { f(arch, rounded_products{}); });
        }
    }
    with_arch(b, [&](auto arch) { f(arch, plain_products<S>{}); });
}

/// Calls f(arch, kernel) with the kernel of products of packed signs with vectors of S.
template <class S, class B, class F>
void with_packed_kernel(const B& b, [[maybe_unused]] packed_precision wanted, F&& f) {
#if SUBBIT_X86
    if constexpr (std::same_as<S, float>)
        if (wanted == packed_precision::int8) {
            if (b.instructions() == isa::avx512 && detect_byte_tables())
                return f(avx512_arch{}, int8_kernel<avx512_arch>{});
            if (b.instructions() != isa::portable) return f(avx2_arch{}, int8_kernel<avx2_arch>{});
        }
#endif
#if SUBBIT_ARM
    if constexpr (std::same_as<S, float>)
        if (b.instructions() != isa::portable)
            return wanted == packed_precision::int8 ? f(neon_arch{}, int8_kernel<neon_arch>{})
                                                    : f(neon_arch{}, packed_kernel<neon_arch, float>{});
#endif
    with_arch(b, [&](auto arch) { f(arch, packed_kernel<decltype(arch), S>{}); });
}

/// Calls f(arch) with the tag of the kernel for rows of bytes.
template <class B, class F>
void with_byte_kernel(const B& b, F&& f) {
#if SUBBIT_ARM
    if (b.instructions() == isa::dotprod) return f(dotprod_arch{});
    if (b.instructions() == isa::neon) return f(neon_arch{});
#endif
    with_arch(b, f);
}

/// The same for layers, of which many vectors may be multiplied in another way than few. AVX-512's lookups within
/// registers are as fast as those in memory.
template <class S, class B, class F>
void with_layer_kernel(const B& b, packed_precision wanted, F&& f) {
#if !SUBBIT_ARM
    if constexpr (std::same_as<S, float>)
        if (wanted == packed_precision::reordered) {
            if (b.instructions() == isa::portable) return f(portable_arch{}, many_vectors_kernel<portable_arch>{});
#if SUBBIT_X86
            if (b.instructions() == isa::avx2) return f(avx2_arch{}, many_vectors_kernel<avx2_arch>{});
            if (detect_matrix_units()) return f(avx512_arch{}, amx_kernel{});
#endif
        }
#endif
    with_packed_kernel<S>(b, wanted, f);
}

}  // namespace subbit::cpu_kernels
