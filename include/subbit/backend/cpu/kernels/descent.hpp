// Coordinate descent over the bits of a row.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/cpu/lanes.hpp>

#include <algorithm>

namespace subbit::cpu_kernels {

/// True where any of the n costs u (c - a f) + a q at the pointers is negative; n is at most one register.
template <class S>
[[gnu::always_inline]] inline bool any_flip(const S* u, const S* c, const S* f, const S* q, S a, index n) {
    lanes<S> cost, uu, ff, qq;
    uu.load(u, n);
    cost.load(c, n);
    ff.load(f, n);
    qq.load(q, n);
    cost.add_product(-a, ff);
    cost.multiply(uu);
    cost.add_product(a, qq);
    return cost.any_negative();
}

/// The sweep over one row of k bits. Few bits flip, so whole registers are skipped at once; a flip moves the field by
/// one row of Q.
template <class S>
[[gnu::always_inline]] inline index descend_row(const S* c, const S* Q, index q_stride, const S* diagonal, S a, S* u,
                                                S* f, index k) {
    index flips = 0;
    for (index j = 0; j < k; j += lanes<S>::count) {
        if (!any_flip(u + j, c + j, f + j, diagonal + j, a, k - j)) continue;
        for (index l = j; l < std::min(k, j + lanes<S>::count); ++l) {
            if (u[l] * (c[l] - a * f[l]) + a * diagonal[l] >= S(0)) continue;
            u[l] = -u[l];
            lane_axpy(2 * u[l], Q + l * q_stride, f, k);
            ++flips;
        }
    }
    return flips;
}

}  // namespace subbit::cpu_kernels
