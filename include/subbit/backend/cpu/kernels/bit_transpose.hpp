// Transposing packed signs: what products with B^T read.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/bits/bit_matrix.hpp>

#if SUBBIT_X86
#include <immintrin.h>
#endif

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

/// Writes row groups [begin, end) of the transpose of `in` to `words`; `begin` is even.
template <class Arch>
void transpose_row_groups(Arch, bit_view in, index begin, index end, std::uint32_t* words) {
#if SUBBIT_X86
    if constexpr (std::is_same_v<Arch, avx512_arch>)
        if (detect_byte_tables()) return byte_transpose<Arch>::groups(in, begin, end, words);
#endif
    transpose_groups(in, begin, end, words);
}

}  // namespace subbit::cpu_kernels
