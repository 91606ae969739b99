// The steps of conjugate gradients for many systems at once: a block a row, which reads each number from the device's
// memory once; what it reads again lies in its multiprocessor's cache.
#pragma once

#include <subbit/backend/conjugate_operations.hpp>
#include <subbit/backend/gpu/backend.hpp>

#include <algorithm>

namespace subbit {

namespace gpu {

/// A block for each row, of a thread for each 4 entries.
inline launch_shape cover_by_blocks(index rows, index cols) {
    const index threads = (cols / 4 + warp_size - 1) / warp_size * warp_size;
    return {std::clamp<index>(rows, 1, 1 << 16),
            static_cast<int>(std::clamp<index>(threads, warp_size, usual_threads))};
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
            for (index j = block.thread(); j < R.cols; j += block.threads()) {
                const S r = R(i, j) - Q(i, j);
                R(i, j) = r;
                sum += static_cast<double>(r) * static_cast<double>(r);
            }
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
            for (index j = block.thread(); j < X.cols; j += block.threads()) {
                const S d = D(i, j);
                X(i, j) += a * d;
                if (place.last) continue;
                if (place.first) P(i, j) = d;  // R, which held it, moves on
                const S r = R(i, j) - a * Q(i, j);
                R(i, j) = r;
                after += static_cast<double>(r) * static_cast<double>(r);
            }
            if (place.last) continue;
            after = block.sum(after);  // after which no thread has the old energy to read
            if (block.thread() == 0) energy[i] = static_cast<S>(after);
            const S kept = static_cast<S>(before > 0 ? after / before : 0.0);
            for (index j = block.thread(); j < X.cols; j += block.threads())
                P(i, j) = R(i, j) + kept * P(i, j);
        }
    }
};

}  // namespace gpu

template <class B, class S>
void do_start_descent(gpu_tag, const B& b, matrix_view<const S> Q, matrix_view<S> R, descent_rows<S> rows) {
    if (R.size() > 0)
        b.launch(gpu::cover_by_blocks(R.rows, R.cols), gpu::residual_of_rows<S>{Q, R, rows.energy.data()});
}

template <class B, class S>
void do_descend_step(gpu_tag, const B& b, descent_place place, matrix_view<const S> Q, matrix_view<S> P,
                     matrix_view<S> R, matrix_view<S> X, descent_rows<S> rows) {
    if (X.size() > 0)
        b.launch(gpu::cover_by_blocks(X.rows, X.cols),
                 gpu::conjugate_step<S>{place, Q, P, R, X, rows.energy.data(), rows.gained.data(), rows.last.data()});
}

}  // namespace subbit
