// The LU factors of a matrix that is not positive definite, and the solves with them.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>

#include <limits>

namespace subbit {

namespace gpu {

/// G = P'LU with unit L, both in G, where *info says that Cholesky failed: one block, a fallback that is seldom needed.
/// `factor` becomes the identity, so that the triangular solves that follow change nothing; `*singular` becomes n where
/// a pivot is lost in rounding.
template <class S>
struct lu_factor {
    static constexpr int most_threads = lone_threads;

    matrix_view<S> G, factor;
    index* pivots;
    const int* info;
    int* singular;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (*info == 0) return;
        const index n = G.rows;
        index* const best_row = block.template shared<index>(1);
        S largest_pivot = 0;
        for (index k = 0; k < n; ++k) {
            S best = -1;
            for (index i = k + block.thread(); i < n; i += block.threads())
                best = maximum{}(best, magnitude(G(i, k)));
            best = block.reduce(best, maximum{});
            largest_pivot = maximum{}(largest_pivot, best);
            const S rounding = static_cast<S>(n) * epsilon * largest_pivot;
            if (!(best > rounding)) {
                if (block.thread() == 0) *singular = static_cast<int>(n);
                return make_identity(block);
            }
            if (block.thread() == 0)
                for (index i = n - 1; i >= k; --i)  // the first of the largest
                    if (magnitude(G(i, k)) == best) *best_row = i;
            block.sync();
            const index p = *best_row;
            if (block.thread() == 0) pivots[k] = p;
            for (index j = block.thread(); p != k && j < n; j += block.threads())
                swap(G(k, j), G(p, j));
            block.sync();
            for (index i = k + 1 + block.thread(); i < n; i += block.threads())
                G(i, k) /= G(k, k);
            block.sync();
            const index rest = n - k - 1;
            for (index e = block.thread(); e < rest * rest; e += block.threads()) {
                const index i = k + 1 + e / rest, j = k + 1 + e % rest;
                G(i, j) -= G(i, k) * G(k, j);
            }
            block.sync();
        }
        make_identity(block);
    }

  private:
    static constexpr S epsilon = std::numeric_limits<S>::epsilon();

    static SUBBIT_KERNEL S magnitude(S x) { return x < S(0) ? -x : x; }
    static SUBBIT_KERNEL void swap(S& a, S& b) {
        const S kept = a;
        a = b;
        b = kept;
    }
    template <class Block>
    SUBBIT_KERNEL void make_identity(Block& block) const {
        const index n = factor.rows;
        for (index e = block.thread(); e < n * n; e += block.threads())
            factor(e / n, e % n) = e / n == e % n ? S(1) : S(0);
    }
};

/// Every row r of R (m,n) <- G^-1 r with what lu_factor left: a warp a row, where *info says that it did.
template <class S>
struct lu_solve {
    matrix_view<const S> G;
    matrix_view<S> R;
    const index* pivots;
    const int *info, *singular;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (*info == 0 || *singular != 0) return;
        const index n = G.rows;
        for_each_warp(block, R.rows, [&](index row) {
            if (block.lane() == 0)
                for (index k = 0; k < n; ++k)
                    if (pivots[k] != k) {
                        const S kept = R(row, k);
                        R(row, k) = R(row, pivots[k]);
                        R(row, pivots[k]) = kept;
                    }
            block.sync_warp();
            for (index k = 0; k < n; ++k) {
                for (index i = k + 1 + block.lane(); i < n; i += warp_size)
                    R(row, i) -= G(i, k) * R(row, k);
                block.sync_warp();
            }
            for (index k = n - 1; k >= 0; --k) {
                if (block.lane() == 0) R(row, k) /= G(k, k);
                block.sync_warp();
                for (index i = block.lane(); i < k; i += warp_size)
                    R(row, i) -= G(i, k) * R(row, k);
                block.sync_warp();
            }
        });
    }
};

}  // namespace gpu

}  // namespace subbit
