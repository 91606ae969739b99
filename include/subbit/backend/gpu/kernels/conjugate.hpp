// The steps of conjugate gradients for many systems at once: a block a row, which reads each number from the device's
// memory once; what it reads again lies in its multiprocessor's cache.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/ops/solver.hpp>

namespace subbit {

namespace gpu {

/// f(j, load(j)) for every j below n on the threads of a block, four loads at a time: a store in f holds back the loads
/// behind it, which might read what it wrote.
template <class Block, class Load, class F>
SUBBIT_KERNEL void for_each_loaded(const Block& block, index n, Load load, F f) {
    constexpr int group = 4;
    const index step = block.threads();
    index j = block.thread();
    for (; j + (group - 1) * step < n; j += group * step) {
        decltype(load(j)) loaded[group];
        for (int g = 0; g < group; ++g)
            loaded[g] = load(j + g * step);
        for (int g = 0; g < group; ++g)
            f(j + g * step, loaded[g]);
    }
    for (; j < n; j += step)
        f(j, load(j));
}

template <class S>
struct residual_of_rows {
    matrix_view<const S> Q;
    matrix_view<S> R;
    S* energy;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for (index i = block.index(); i < R.rows; i += block.blocks()) {
            double sum = 0;
            for_each_loaded(
                block, R.cols, [&](index j) { return R(i, j) - Q(i, j); },
                [&](index j, S r) {
                    R(i, j) = r;
                    sum += static_cast<double>(r) * static_cast<double>(r);
                });
            sum = block.sum(sum);
            if (block.thread() == 0) energy[i] = static_cast<S>(sum);
        }
    }
};

template <class S>
struct conjugate_step {
    descent_place place;
    matrix_view<const S> Q;
    matrix_view<S> P, R, X;
    S *energy, *gained, *last;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const matrix_view<S> D = place.first ? R : P;  // the direction
        for (index i = block.index(); i < X.rows; i += block.blocks()) {
            double curvature = 0;
            for (index j = block.thread(); j < X.cols; j += block.threads())
                curvature += static_cast<double>(D(i, j)) * static_cast<double>(Q(i, j));
            curvature = block.sum(curvature);
            const auto before = static_cast<double>(energy[i]);
            const double length = curvature > 0 ? before / curvature : 0.0;
            const S a = static_cast<S>(length);
            if (block.thread() == 0) {
                gained[i] += static_cast<S>(length * before);
                if (place.last) last[i] += static_cast<S>(length * before);
            }
            double after = 0;
            if (place.last) {
                for_each_loaded(
                    block, X.cols, [&](index j) { return X(i, j) + a * D(i, j); }, [&](index j, S x) { X(i, j) = x; });
                continue;
            }
            for_each_loaded(
                block, X.cols,
                [&](index j) {
                    return entry{D(i, j), X(i, j) + a * D(i, j), R(i, j) - a * Q(i, j)};
                },
                [&](index j, const entry& e) {
                    X(i, j) = e.x;
                    R(i, j) = e.r;
                    if (place.first) P(i, j) = e.d;  // R, which held it, moves on
                    after += static_cast<double>(e.r) * static_cast<double>(e.r);
                });
            after = block.sum(after);  // after which no thread has the old energy to read
            if (block.thread() == 0) energy[i] = static_cast<S>(after);
            const S kept = static_cast<S>(before > 0 ? after / before : 0.0);
            for_each_loaded(
                block, X.cols, [&](index j) { return R(i, j) + kept * P(i, j); }, [&](index j, S p) { P(i, j) = p; });
        }
    }

  private:
    struct entry {
        S d, x, r;
    };
};

}  // namespace gpu

}  // namespace subbit
