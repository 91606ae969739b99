// The intrinsics of x86, for files that write theirs between SUBBIT_INTRINSICS_BEGIN and SUBBIT_INTRINSICS_END.
#pragma once

#include <subbit/backend/cpu/isa.hpp>

#if SUBBIT_X86
#include <immintrin.h>
#endif

// GCC 12's intrinsics begin with a vector that is uninitialized on purpose, and GCC warns of it where they are inlined.
#if defined(__GNUC__) && !defined(__clang__)
#define SUBBIT_INTRINSICS_BEGIN                                                          \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wuninitialized\"") \
        _Pragma("GCC diagnostic ignored \"-Wmaybe-uninitialized\"")
#define SUBBIT_INTRINSICS_END _Pragma("GCC diagnostic pop")
#else
#define SUBBIT_INTRINSICS_BEGIN
#define SUBBIT_INTRINSICS_END
#endif
