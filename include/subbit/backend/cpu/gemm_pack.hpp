// Packing: how an operand of any strides, or of bits, becomes the panels of gemm_kernel.hpp.
//
// A panel is `W` lanes wide (rows of A or columns of B) and holds, for each step along k, one packed element a lane;
// lanes and steps beyond the end are zero. pack_panel is overloaded on the architecture where a processor has a faster
// way.
#pragma once

#include <subbit/backend/cpu/gemm_kernel.hpp>
#include <subbit/bits/bit_view.hpp>

#include <algorithm>

namespace subbit {

/// A dense operand: lane l at k is data[l*lane_stride + k*k_stride].
template <class Real>
struct dense_operand {
    const Real* data;
    index lane_stride;
    index k_stride;
};

/// Signs as an operand: lane l at k is bits(k, l), or bits(l, k) where `lanes_are_rows`.
struct bit_operand {
    bit_view bits;
    bool lanes_are_rows;
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

template <index W, class Products, class Arch>
void pack_panel(Arch, Products products, typename Products::packed* out,
                const dense_operand<typename Products::real>& op, index lane0, index lanes, index k0, index k) {
    pack_strided<W>(products, out, op, lane0, lanes, k0, k);
}

template <index W, class Products, class Arch>
void pack_panel(Arch, Products, typename Products::packed* out, const bit_operand& op, index lane0, index lanes,
                index k0, index k) {
    using real = typename Products::real;
    for (index p = 0; p < k; p += Products::depth, out += W) {
        for (index l = 0; l < lanes; ++l) {
            real pair[2] = {};
            const index count = std::min(Products::depth, k - p);
            for (index d = 0; d < count; ++d) {
                const index lane = lane0 + l, at = k0 + p + d;
                pair[d] = (op.lanes_are_rows ? op.bits.test(lane, at) : op.bits.test(at, lane)) ? real(1) : real(-1);
            }
            out[l] = Products::pack(pair, 1, count);
        }
        std::fill(out + lanes, out + W, typename Products::packed{});
    }
}

}  // namespace subbit
