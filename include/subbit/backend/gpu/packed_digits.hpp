// Vectors on their way to digits (fixed_point.hpp), which are made once for all tiles of a launch.
#pragma once

#include <subbit/backend/gpu/fours.hpp>
#include <subbit/backend/gpu/packed_product.hpp>

#include <cstdint>

namespace subbit::gpu {

/// One vector, scaled as it is read: pre o x.
template <class In, class Real>
struct scaled_row {
    const In* x;
    index stride;
    index size;
    const Real* pre;

    SUBBIT_KERNEL scaled_row(const packed_part<In, Real>& part, index token)
        : x(part.X.row(token)), stride(part.X.col_stride), size(part.X.cols), pre(part.pre) {}

    SUBBIT_KERNEL Real operator[](index j) const {
        const Real value = static_cast<Real>(x[j * stride]);
        return pre != nullptr ? value * pre[j] : value;
    }
    /// True where x and pre can be read by fours.
    SUBBIT_KERNEL bool in_fours() const { return stride == 1 && size % 4 == 0 && holds_fours(x) && holds_fours(pre); }
};

/// A part, and where its digits, their sums and the scales of its vectors go.
template <class In, class Real>
struct digits_job {
    packed_part<In, Real> part;
    std::uint32_t* words;
    std::int32_t* sums;
    Real* to_real;
};

}  // namespace subbit::gpu
