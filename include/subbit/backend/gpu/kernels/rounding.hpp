// Products that are always rounded by themselves, even if the compiler could contract them with a sum.
#pragma once

#include <subbit/core/kernel.hpp>

namespace subbit::gpu {

/// a * b, never one instruction with an addition after it: kernels whose results must agree to the last bit use it.
template <class Real>
SUBBIT_KERNEL Real rounded_product(Real a, Real b) {
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(Real) == 4)
        return __fmul_rn(a, b);
    else
        return __dmul_rn(a, b);
#else
    const volatile Real product = a * b;  // a value in memory is rounded
    return product;
#endif
}

}  // namespace subbit::gpu
