// The matrix units of some processors (AMX): eight tiles of 16 rows of 64 bytes, and instructions that multiply them.
#pragma once

#include <subbit/backend/cpu/isa.hpp>

#if SUBBIT_X86
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <cstdint>

#define SUBBIT_AMX                                                                                      \
    [[gnu::target(                                                                                      \
        "amx-tile,amx-int8,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,avx2,fma," \
        "bmi2")]]
#endif

namespace subbit {

/// True where the processor has matrix units for bytes and bfloat16, and the system lets this process use them.
inline bool detect_matrix_units() {
#if SUBBIT_X86 && defined(__linux__) && defined(SYS_arch_prctl)
    static const bool available = [] {
        constexpr unsigned bf16_tiles = 1U << 22, tiles = 1U << 24, byte_tiles = 1U << 25;
        constexpr unsigned needed = bf16_tiles | tiles | byte_tiles;
        constexpr long request_permission = 0x1023, tile_data = 18;
        unsigned a = 0, b = 0, c = 0, d = 0;
        return detect_byte_tables() && detect_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
               (d & needed) == needed && ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    }();
    return available;
#else
    return false;
#endif
}

#if SUBBIT_X86

namespace cpu_kernels {

/// While one lives, this thread's tiles have 16 rows of 64 bytes.
class tile_session {
  public:
    SUBBIT_AMX tile_session() {
        static constexpr shapes all;  // in memory as a whole: GCC 12 takes 8 bytes of it for all that is read
        _tile_loadconfig(&all);
    }
    SUBBIT_AMX ~tile_session() { _tile_release(); }
    tile_session(const tile_session&) = delete;
    tile_session& operator=(const tile_session&) = delete;

  private:
    /// The layout is the processor's.
    struct alignas(64) shapes {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
};

}  // namespace cpu_kernels

#endif

}  // namespace subbit
