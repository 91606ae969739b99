// What a product multiplies: the scalar that a caller sees, and the form in which panels hold it.
#pragma once

#include <subbit/core/half.hpp>
#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <cstring>

namespace subbit::cpu_kernels {

/// Products of panels that hold plain numbers. `left` and `right` name the forms of the panels of A and of B.
template <class Real>
struct plain_products {
    using real = Real;
    using packed = Real;
    using left = plain_products;
    using right = plain_products;
    static constexpr index depth = 1;  ///< values of k in one packed element
    static constexpr index most_steps =
        512;  ///< elements along k: a panel of A (16 KiB) stays in the first-level cache
    static packed pack(const real* x, index, index) { return *x; }
};

/// Products of bfloat16 pairs: an element holds two neighbours along k.
struct bf16_products {
    using real = float;
    using packed = std::uint32_t;
    using left = bf16_products;
    using right = bf16_products;
    static constexpr index depth = 2;
    static constexpr index most_steps = 512;
    /// The element of x[0] and x[stride]; `count` is 1 where the second lies beyond the end.
    static packed pack(const float* x, index stride, index count) {
        return to_bf16(*x) | (count > 1 ? static_cast<packed>(to_bf16(x[stride])) << 16 : 0u);
    }
};

/// bf16_products on a processor without that instruction: the same rounding, then float32 arithmetic.
struct rounded_products {
    using real = float;
    using packed = float;
    using left = rounded_products;
    using right = rounded_products;
    static constexpr index depth = 1;
    static constexpr index most_steps = 512;
    static packed pack(const float* x, index, index) { return from_bf16(to_bf16(*x)); }
};

}  // namespace subbit::cpu_kernels
