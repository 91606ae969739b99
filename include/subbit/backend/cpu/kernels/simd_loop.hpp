// Vectorizes plain loops for the machine. The trick is `flatten`, which inlines the caller's lambda, and everything
// that it calls, into a function with the target attribute, so the compiler vectorizes one loop once for each
// instruction set.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/cpu/isa.hpp>

namespace subbit::cpu_kernels {

template <class F>
[[gnu::flatten]] inline void run_loop(portable_arch, F& f) {
    detail::call_vectorized(detail::compiled_registers{}, f);
}
/// NEON is what every compiler assumes of 64-bit ARM.
template <class F>
[[gnu::flatten]] inline void run_loop(neon_arch, F& f) {
    detail::call_vectorized(register_size<16>{}, f);
}
#if SUBBIT_X86
template <class F>
[[gnu::flatten]] SUBBIT_AVX2 inline void run_loop(avx2_arch, F& f) {
    detail::call_vectorized(register_size<32>{}, f);
}
template <class F>
[[gnu::flatten]] SUBBIT_AVX512 inline void run_loop(avx512_arch, F& f) {
    detail::call_vectorized(register_size<64>{}, f);
}
#endif

}  // namespace subbit::cpu_kernels
