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

// 64-bit ARM has NEON always. Big-endian, the bytes of a word would lie the other way round.
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define SUBBIT_ARM 1
#define SUBBIT_DOTPROD [[gnu::target("arch=armv8.2-a+dotprod")]]
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#else
#define SUBBIT_ARM 0
#endif

namespace subbit {

/// The instruction sets that the cpu backend has kernels for: of each family of processors narrowest first, and each
/// includes those before it.
enum class isa { portable, avx2, avx512, neon, dotprod };

inline constexpr isa all_isas[] = {isa::portable, isa::avx2, isa::avx512, isa::neon, isa::dotprod};

/// Architecture tags: each kernel is a template on one of them. The portable one uses the instructions for which the
/// compiler compiles the file.
template <class Simd>
struct compiled_arch {};
using portable_arch = compiled_arch<xsimd::default_arch>;
struct avx2_arch {};
struct avx512_arch {};
struct neon_arch {};
struct dotprod_arch {};

constexpr const char* isa_name(isa i) {
    constexpr const char* names[] = {"portable", "avx2", "avx512", "neon", "dotprod"};
    return names[static_cast<int>(i)];
}

/// True where 64-bit ARM sums products of four bytes (FEAT_DotProd). Elsewhere than on Linux that is what the compiler
/// was told: every processor of Apple's that macOS runs on has it, and their compilers know.
inline bool detect_dotprod() {
#if defined(__ARM_FEATURE_DOTPROD)
    return true;
#elif SUBBIT_ARM && defined(__linux__)
    constexpr unsigned long dot_products = 1UL << 20;  // HWCAP_ASIMDDP
    return (getauxval(AT_HWCAP) & dot_products) != 0;
#else
    return false;
#endif
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
    if (SUBBIT_ARM) return detect_dotprod() ? isa::dotprod : isa::neon;
    return isa::portable;
}

/// True if this processor and operating system run it.
inline bool has_isa(isa i) {
    const isa narrowest = SUBBIT_ARM ? isa::neon : isa::avx2;
    return i == isa::portable || (narrowest <= i && i <= detect_isa());
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

/// The instruction set of that name; value_error if the name is unknown or this machine cannot run it.
inline isa parse_isa(std::string_view name) {
    std::string known;
    for (const isa i : all_isas) {
        known += std::string(known.empty() ? "" : ", ") + isa_name(i);
        if (name != isa_name(i)) continue;
        if (!has_isa(i)) throw value_error("instruction set '" + std::string(name) + "' is not on this machine");
        return i;
    }
    throw value_error("unknown instruction set '" + std::string(name) + "', expected one of " + known);
}

/// The instruction set that the environment variable SUBBIT_ISA asks for, else the widest one.
inline isa preferred_isa() {
    const char* asked = std::getenv("SUBBIT_ISA");
    return asked != nullptr && *asked != '\0' ? parse_isa(asked) : detect_isa();
}

}  // namespace subbit
