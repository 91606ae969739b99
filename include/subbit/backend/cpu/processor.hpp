// The x86 processors between which kernels choose by measurement rather than by instruction set.
#pragma once

#include <subbit/backend/cpu/isa.hpp>

#if SUBBIT_X86
#include <cpuid.h>

namespace subbit {

enum class processor { other, intel, amd, zen5 };  ///< amd: before Zen 5; zen5: AMD's since

/// The processor that runs this.
inline processor this_processor() {
    static const processor here = [] {
        if (__builtin_cpu_is("intel")) return processor::intel;
        if (!__builtin_cpu_is("amd")) return processor::other;
        unsigned a = 0, b = 0, c = 0, d = 0;
        __get_cpuid(1, &a, &b, &c, &d);
        const unsigned family = (a >> 8 & 15U) + (a >> 20 & 255U);
        return family >= 26 ? processor::zen5 : processor::amd;
    }();
    return here;
}

inline bool is_amd() {
    return this_processor() == processor::amd || this_processor() == processor::zen5;
}

}  // namespace subbit

#endif
