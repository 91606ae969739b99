// The steps around a layer's products.
#pragma once

#include <subbit/backend/gpu/kernels/reductions.hpp>

#include <cstdint>

namespace subbit {

namespace gpu {

/// X(t,:) = table(ids[t],:).
template <class S>
struct gather_entry {
    matrix_view<S> X;
    matrix_view<const S> table;
    const std::int32_t* ids;

    SUBBIT_KERNEL void operator()(index t, index c) const { X(t, c) = table(ids[t], c); }
};

template <class S>
struct add_scaled_entry {
    matrix_view<S> out;
    matrix_view<const S> X;
    const S* factor;

    SUBBIT_KERNEL void operator()(index t, index c) const { out(t, c) += X(t, c) * factor[c]; }
};

template <class S>
struct add_bias_entry {
    matrix_view<S> Y;
    const S* row;

    SUBBIT_KERNEL void operator()(index t, index c) const { Y(t, c) += row[c]; }
};

/// X(t,c) Y(t,c), to the sum of column c; X is scaled on the way.
template <class S>
struct dot_and_scale {
    matrix_view<S> X;
    matrix_view<const S> Y;
    S* sums;
    const S* factor;

    SUBBIT_KERNEL double operator()(index c, index t) const {
        const S x = X(t, c);
        X(t, c) = x * factor[c];
        return static_cast<double>(x) * static_cast<double>(Y(t, c));
    }
    SUBBIT_KERNEL void store(index c, double sum) const { sums[c] = static_cast<S>(sum); }
};

/// X(i,j), to the sum.
template <class S>
struct plain_value {
    matrix_view<const S> X;
    S* sums;

    SUBBIT_KERNEL double operator()(index i, index j) const { return static_cast<double>(X(i, j)); }
    SUBBIT_KERNEL void store(index i, double sum) const { sums[i] = static_cast<S>(sum); }
};

}  // namespace gpu

}  // namespace subbit
