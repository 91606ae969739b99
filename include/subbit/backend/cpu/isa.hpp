// Which instructions this processor has, and the macros that let one function use them.
//
// A translation unit needs no -m flag: every SIMD function carries its target as an attribute and is chosen at run
// time, and each is a template on (or a member of a class named after) its architecture, so that translation units
// which are built with different flags do not share a kernel. They do share Eigen's memory, so they link only where
// their flags give it the same alignment (core/alignment.hpp).
#pragma once

#include <subbit/core/error.hpp>

#include <xsimd/xsimd.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

#if defined(__x86_64__) && defined(__GNUC__)
#define SUBBIT_X86 1
#define SUBBIT_AVX2 [[gnu::target("avx2,fma,bmi2")]]
// bfloat16 instructions are never the compiler's own choice: only the kernels that detect_bf16() admits contain them.
#define SUBBIT_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2")]]
// As the processors with byte tables have it (Ice Lake, Zen 4 and later): only what detect_byte_tables() admits.
#define SUBBIT_AVX512_BYTES \
    [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx512vnni,gfni,avx2,fma,bmi2")]]
#else
#define SUBBIT_X86 0
#endif

namespace subbit {

/// The instruction sets that the cpu backend has kernels for, narrowest first.
enum class isa { portable, avx2, avx512 };

/// Architecture tags: each kernel is a template on one of them. The portable one uses the instructions for which the
/// compiler compiles the file.
template <class Simd>
struct compiled_arch {};
using portable_arch = compiled_arch<xsimd::default_arch>;
struct avx2_arch {};
struct avx512_arch {};

constexpr const char* isa_name(isa i) {
    return i == isa::avx512 ? "avx512" : i == isa::avx2 ? "avx2" : "portable";
}

/// The widest instruction set that this processor and operating system run.
inline isa detect_isa() {
#if SUBBIT_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return isa::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        return isa::avx2;
#endif
    return isa::portable;
}

/// True where bfloat16 products are one instruction (AVX512_BF16).
inline bool detect_bf16() {
#if SUBBIT_X86
    return detect_isa() == isa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

/// True where AVX-512 also looks up 64 bytes at once, sums products of bytes and transposes bits (VBMI, VNNI, GFNI).
inline bool detect_byte_tables() {
#if SUBBIT_X86
    return detect_isa() == isa::avx512 && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("gfni");
#else
    return false;
#endif
}

/// True if that instruction is also faster than float32 multiply-adds on rounded operands: AMD's processors run two a
/// cycle, Intel's one (docs/numerics.md has the figures).
inline bool prefer_bf16_instructions() {
#if SUBBIT_X86
    return detect_bf16() && __builtin_cpu_is("amd");
#else
    return false;
#endif
}

/// The instruction set of that name; value_error if the name is unknown or this machine cannot run it.
inline isa parse_isa(std::string_view name) {
    for (const isa i : {isa::portable, isa::avx2, isa::avx512}) {
        if (name != isa_name(i)) continue;
        if (i > detect_isa()) throw value_error("instruction set '" + std::string(name) + "' is not on this machine");
        return i;
    }
    throw value_error("unknown instruction set '" + std::string(name) + "', expected portable, avx2 or avx512");
}

/// The instruction set that the environment variable SUBBIT_ISA asks for, else the widest one.
inline isa preferred_isa() {
    const char* asked = std::getenv("SUBBIT_ISA");
    return asked != nullptr && *asked != '\0' ? parse_isa(asked) : detect_isa();
}

}  // namespace subbit
