// Coordinate descent over bits and the exact refit of row scales: a warp a row.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>

#include <cstdint>

namespace subbit {

namespace gpu {

/// One sweep over the bits of every row, in the order of the columns. Each lane owns the columns l, l + 32, ..: it
/// alone reads and writes their u and f. All 32 of a group are judged at once; the first that wants to flip does, which
/// moves the f of all, and those behind it are judged again. So a group costs one step and one more for each flip.
template <class S>
struct descend_rows {
    matrix_view<const S> C, Q;
    const S* scales;
    matrix_view<S> U, F;
    double* flips;  // of each row

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, U.rows, [&](index i) {
            const S a = scales[i];
            const int lane = block.lane();
            int flipped = 0;
            for (index first = 0; first < U.cols; first += warp_size) {
                const index j = first + lane;
                for (int from = 0; from < warp_size;) {
                    const bool better =
                        lane >= from && j < U.cols && U(i, j) * (C(i, j) - a * F(i, j)) + a * Q(j, j) < S(0);
                    const std::uint32_t wish = block.ballot(better);
                    if (wish == 0) break;
                    const int chosen = lowest_bit(wish);
                    if (lane == chosen) U(i, j) = -U(i, j);
                    const S twice = 2 * block.shuffle(lane == chosen ? U(i, j) : S(0), chosen);
                    for (index l = lane; l < U.cols; l += warp_size)
                        F(i, l) += twice * Q(first + chosen, l);
                    ++flipped;
                    from = chosen + 1;
                }
            }
            if (lane == 0) flips[i] = flipped;
        });
    }

    static SUBBIT_KERNEL int lowest_bit(std::uint32_t word) {
        int bit = 0;
        while ((word >> bit & 1u) == 0)
            ++bit;
        return bit;
    }
};

/// scales[i] = |c'u| / f'u, the signs turned where c'u < 0; explained[i] = scales[i] |c'u|.
template <class S>
struct fit_scales_of_rows {
    matrix_view<const S> C;
    matrix_view<S> U, F;
    S* scales;
    double* explained;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, U.rows, [&](index i) {
            double overlap = 0, energy = 0;
            for (index j = block.lane(); j < U.cols; j += warp_size) {
                const auto u = static_cast<double>(U(i, j));
                overlap += u * static_cast<double>(C(i, j));
                energy += u * static_cast<double>(F(i, j));
            }
            overlap = block.warp_sum(overlap);
            energy = block.warp_sum(energy);
            if (overlap < 0) {
                overlap = -overlap;
                for (index j = block.lane(); j < U.cols; j += warp_size) {
                    U(i, j) = -U(i, j);
                    F(i, j) = -F(i, j);
                }
            }
            const double a = energy > 0 ? overlap / energy : 0.0;
            if (block.lane() != 0) return;
            scales[i] = static_cast<S>(a);
            explained[i] = a * overlap;
        });
    }
};

/// The entries of an array of the device, for sum_all.
struct array_value {
    const double* x;

    SUBBIT_KERNEL double operator()(index /*zero*/, index i) const { return x[i]; }
};

}  // namespace gpu

}  // namespace subbit
