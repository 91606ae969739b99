// Transposing packed signs: what products with B^T read.
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <cstdint>
#include <type_traits>

#if SUBBIT_ARM
#include <arm_neon.h>
#endif

SUBBIT_INTRINSICS_BEGIN

namespace subbit::cpu_kernels {

#if SUBBIT_X86
/// Two tiles, one below the other, that is 32 x 32 bits, at once: bytes are gathered into 8 x 8 blocks, an affine
/// transform of the identity by each block is its transpose, and the bytes of the blocks become words again.
template <class Arch>
struct byte_transpose {
    SUBBIT_AVX512_BYTES static void groups(bit_view in, index begin, index end, std::uint32_t* words) {
        const index out_col_groups = bit_layout::col_groups(in.rows());
        alignas(64) std::uint8_t gather[64], spread[64];
        for (int block = 0; block < 8; ++block)
            for (int k = 0; k < 8; ++k)  // block (a, p): byte p of rows 8a.., the last row first
                gather[8 * block + k] = static_cast<std::uint8_t>((8 * (block / 4) + 7 - k) * 4 + block % 4);
        for (int column = 0; column < 16; ++column)
            for (int a = 0; a < 4; ++a)  // bit 6 names the second register
                spread[4 * column + a] =
                    static_cast<std::uint8_t>(a / 2 * 64 + (a % 2 * 4 + column / 8) * 8 + column % 8);
        const __m512i by_block = _mm512_load_si512(gather), first_half = _mm512_load_si512(spread),
                      second_half = _mm512_add_epi8(first_half, _mm512_set1_epi8(16)),
                      identity = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201ULL));
        for (index pair = 0; pair < out_col_groups; ++pair)
            for (index g = begin / 2; 2 * g < end; ++g) {
                const __m512i upper = _mm512_loadu_si512(in.tile(2 * pair, g));
                const __m512i lower = 2 * pair + 1 < in.row_groups() ? _mm512_loadu_si512(in.tile(2 * pair + 1, g))
                                                                     : _mm512_setzero_si512();
                const __m512i a = _mm512_gf2p8affine_epi64_epi8(identity, _mm512_permutexvar_epi8(by_block, upper), 0);
                const __m512i b = _mm512_gf2p8affine_epi64_epi8(identity, _mm512_permutexvar_epi8(by_block, lower), 0);
                std::uint32_t* out = words + ((2 * g - begin) * out_col_groups + pair) * bit_layout::tile_rows;
                _mm512_storeu_si512(out, _mm512_permutex2var_epi8(a, first_half, b));
                if (2 * g + 1 < end)
                    _mm512_storeu_si512(out + out_col_groups * bit_layout::tile_rows,
                                        _mm512_permutex2var_epi8(a, second_half, b));
            }
    }
};
#endif

#if SUBBIT_ARM
/// Two tiles, one below the other, at once: eight registers that hold rows r, r + 8, r + 16 and r + 24 of them, r =
/// 0..7, are 16 blocks of 8 x 8 bits, which three steps of exchanges between registers transpose.
template <class Arch>
struct neon_transpose {
    static void groups(bit_view in, index begin, index end, std::uint32_t* words) {
        const index out_col_groups = bit_layout::col_groups(in.rows());
        for (index g = begin / 2; 2 * g < end; ++g)
            for (index pair = 0; pair < out_col_groups; ++pair) {
                const uint32x4x4_t upper = vld4q_u32(in.tile(2 * pair, g)),
                                   lower = 2 * pair + 1 < in.row_groups() ? vld4q_u32(in.tile(2 * pair + 1, g))
                                                                          : uint32x4x4_t{};
                uint8x16_t rows[8];
#pragma GCC unroll 4
                for (int r = 0; r < 4; ++r) {
                    rows[r] = vreinterpretq_u8_u32(vuzp1q_u32(upper.val[r], lower.val[r]));
                    rows[r + 4] = vreinterpretq_u8_u32(vuzp2q_u32(upper.val[r], lower.val[r]));
                }
                exchange<1>(rows, 0x55);
                exchange<2>(rows, 0x33);
                exchange<4>(rows, 0x0F);
                std::uint32_t* out = words + ((2 * g - begin) * out_col_groups + pair) * bit_layout::tile_rows;
                const uint32x4x4_t low = columns(rows), high = columns(rows + 4);
                store<0>(out, low, high);
                if (2 * g + 1 < end) store<2>(out + out_col_groups * bit_layout::tile_rows, low, high);
            }
    }

  private:
    /// Exchanges the bits of registers r whose number has `Distance` with those of registers r + Distance whose number
    /// has not; `mask` names the latter.
    template <int Distance>
    [[gnu::always_inline]] static void exchange(uint8x16_t (&rows)[8], std::uint8_t mask) {
        const uint8x16_t without = vdupq_n_u8(mask);
#pragma GCC unroll 8
        for (int r = 0; r < 8; ++r)
            if ((r & Distance) == 0) {
                const uint8x16_t a = rows[r], b = rows[r + Distance];
                rows[r] = vbslq_u8(without, a, vshlq_n_u8(b, Distance));
                rows[r + Distance] = vbslq_u8(without, vshrq_n_u8(a, Distance), b);
            }
    }

    /// From registers of columns c, c + 8, c + 16 and c + 24, byte by byte, to words.
    [[gnu::always_inline]] static uint32x4x4_t columns(const uint8x16_t* rows) {
        constexpr std::uint8_t byte_by_byte[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
        uint32x4x4_t words;
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c)
            words.val[c] = vreinterpretq_u32_u8(vqtbl1q_u8(rows[c], vld1q_u8(byte_by_byte)));
        return words;
    }

    /// Columns 8 Lane.. and 8 Lane + 8.. as a tile.
    template <int Lane>
    [[gnu::always_inline]] static void store(std::uint32_t* tile, const uint32x4x4_t& low, const uint32x4x4_t& high) {
        vst4q_lane_u32(tile, low, Lane);
        vst4q_lane_u32(tile + 4, high, Lane);
        vst4q_lane_u32(tile + 8, low, Lane + 1);
        vst4q_lane_u32(tile + 12, high, Lane + 1);
    }
};
#endif

/// Writes row groups [begin, end) of the transpose of `in` to `words`; `begin` is even.
template <class Arch>
void transpose_row_groups(Arch, bit_view in, index begin, index end, std::uint32_t* words) {
#if SUBBIT_X86
    if constexpr (std::is_same_v<Arch, avx512_arch>)
        if (detect_byte_tables()) return byte_transpose<Arch>::groups(in, begin, end, words);
#endif
#if SUBBIT_ARM
    if constexpr (std::is_same_v<Arch, neon_arch>) return neon_transpose<Arch>::groups(in, begin, end, words);
#endif
    transpose_groups(in, begin, end, words);
}

}  // namespace subbit::cpu_kernels

SUBBIT_INTRINSICS_END
