// The x86 processors between which kernels choose by measurement rather than by instruction set.
#pragma once

#include <subbit/backend/cpu/isa.hpp>

#if SUBBIT_X86
#include <cpuid.h>

namespace subbit {

enum class processor {
    other,
    intel,
    older_amd,     ///< before Zen 5
    zen5_or_later  ///< AMD's of later families are taken to be like Zen 5
};

/// The processor that runs this.
inline processor this_processor() {
    static const processor here = [] {
        if (__builtin_cpu_is("intel")) return processor::intel;
        if (!__builtin_cpu_is("amd")) return processor::other;
        unsigned a = 0, b = 0, c = 0, d = 0;
        __get_cpuid(1, &a, &b, &c, &d);
        const unsigned family = (a >> 8 & 15U) + (a >> 20 & 255U);  // Zen 3 and 4 are 25
        return family >= 26 ? processor::zen5_or_later : processor::older_amd;
    }();
    return here;
}

inline bool is_amd() {
    return this_processor() == processor::older_amd || this_processor() == processor::zen5_or_later;
}

}  // namespace subbit

#endif
