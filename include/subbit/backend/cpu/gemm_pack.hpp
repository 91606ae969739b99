// Packing: how an operand of any strides becomes the panels of gemm_kernel.hpp.
//
// A panel is `W` lanes wide (rows of A or columns of B) and holds, for each step along k, one packed element a lane;
// lanes and steps beyond the end are zero. pack_panels is overloaded on the architecture where a processor has a faster
// way.
#pragma once

#include <subbit/backend/cpu/gemm_kernel.hpp>

#include <algorithm>

namespace subbit {

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

}  // namespace subbit
