// Packing: how an operand of any strides becomes the panels of gemm_kernel.hpp.
//
// A panel is `W` lanes wide (rows of A or columns of B) and holds, for each step along k, one packed element a lane;
// lanes and steps beyond the end are zero. pack_panels is overloaded on the architecture where a processor has a faster
// way.
#pragma once

#include <subbit/backend/cpu/kernels/gemm_kernel.hpp>
#include <subbit/bits/bit_view.hpp>

#include <algorithm>
#include <cstdint>

namespace subbit::cpu_kernels {

/// A dense operand: lane l at k is data[l*lane_stride + k*k_stride].
template <class Real>
struct dense_operand {
    const Real* data;
    index lane_stride;
    index k_stride;
};

/// Packs `lanes` <= W lanes from lane0, and k values from k0, of an operand of any strides.
template <index W, class Products>
void pack_strided(Products, typename Products::packed* out, const dense_operand<typename Products::real>& op,
                  index lane0, index lanes, index k0, index k) {
    const auto* in = op.data + lane0 * op.lane_stride + k0 * op.k_stride;
    for (index p = 0; p < k; p += Products::depth, out += W) {
        const auto* at = in + p * op.k_stride;
        for (index l = 0; l < lanes; ++l)
            out[l] = Products::pack(at + l * op.lane_stride, op.k_stride, k - p);
        std::fill(out + lanes, out + W, typename Products::packed{});
    }
}

/// Packs all panels of `lanes` lanes from lane0, one after the other.
template <index W, class Products, class Arch>
void pack_panels(Arch, Products products, typename Products::packed* out,
                 const dense_operand<typename Products::real>& op, index lane0, index lanes, index k0, index k) {
    const index steps = (k + Products::depth - 1) / Products::depth;
    for (index l = 0; l < lanes; l += W)
        pack_strided<W>(products, out + l * steps, op, lane0 + l, std::min(W, lanes - l), k0, k);
}

/// Packed signs as an operand: lane l at k is entry (l,k) of `bits`, or (k,l) where it is transposed.
struct bit_operand {
    bit_view bits;
    bool transposed;
};

/// Writes entries (row, col), (row, col + 1).. of `bits` as +1 and -1 to out[0], out[stride]..
template <class Real>
void unpack_run(bit_view bits, index row, index col, index count, Real* out, index stride) {
    constexpr Real signs[2] = {-1, 1};
    while (count > 0) {
        const index bit = col % bit_layout::tile_cols, run = std::min(count, bit_layout::tile_cols - bit);
        std::uint32_t word = bits.word(row, col / bit_layout::tile_cols) >> bit;
        for (index q = 0; q < run; ++q, word >>= 1)
            out[q * stride] = signs[word & 1U];
        out += run * stride;
        col += run;
        count -= run;
    }
}

template <index W, class Products, class Arch>
void pack_panels(Arch, Products, typename Products::packed* out, const bit_operand& op, index lane0, index lanes,
                 index k0, index k) {
    static_assert(Products::depth == 1);
    for (index l = 0; l < lanes; l += W, out += W * k) {
        const index count = std::min(W, lanes - l);
        if (count < W) std::fill_n(out, W * k, typename Products::packed{});
        if (op.transposed)
            for (index p = 0; p < k; ++p)
                unpack_run(op.bits, k0 + p, lane0 + l, count, out + p * W, index{1});
        else
            for (index i = 0; i < count; ++i)
                unpack_run(op.bits, lane0 + l + i, k0, k, out + i, W);
    }
}

}  // namespace subbit::cpu_kernels
