// Optimizers, estimators and losses.
#pragma once

#include <subbit/backend/gpu/kernels/reductions.hpp>
#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace subbit {

namespace gpu {

template <class S>
struct straight_through_entry {
    straight_through kind;
    matrix_view<const S> latent;
    matrix_view<S> gradient;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        const S x = latent(i, j);
        if (kind == straight_through::clipped) {
            if (!(x > S(-1) && x < S(1))) gradient(i, j) = 0;
        } else {
            const S t = std::tanh(S(100) * x);
            gradient(i, j) *= S(100) * (S(1) - t * t);
        }
    }
};

/// |x|
template <class S>
struct magnitude {
    const S* x;

    SUBBIT_KERNEL double operator()(index /*zero*/, index i) const {
        const auto value = static_cast<double>(x[i]);
        return value < 0 ? -value : value;
    }
};

template <class S>
struct widen_number {
    S* x;
    S margin;

    SUBBIT_KERNEL void operator()(index /*zero*/, index i) const { x[i] += x[i] >= S(0) ? margin : -margin; }
};

/// AdamW for many parameters at once: a block for `numbers_per_block` of one parameter.
template <class S>
struct adamw_kernel {
    static constexpr int slots_at_once = 24;
    static constexpr index numbers_per_block = 2048;

    adamw_options options;
    adamw_slot<S> slots[slots_at_once];
    index first_block[slots_at_once];
    int count;
    const double* step;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        int s = 0;
        while (s + 1 < count && first_block[s + 1] <= block.index())
            ++s;
        const adamw_slot<S>& p = slots[s];
        const adamw_factors<S> f(options, adamw_step::from(step), p.rate);
        const index begin = (block.index() - first_block[s]) * numbers_per_block;
        const index end = begin + numbers_per_block < p.size ? begin + numbers_per_block : p.size;
        for (index j = begin + block.thread(); j < end; j += block.threads()) {
            const S g = f.gradient_share * p.gradient[j], m = f.beta1 * p.first[j] + (S(1) - f.beta1) * g;
            const S v = f.beta2 * p.second[j] + (S(1) - f.beta2) * g * g;
            p.first[j] = m;
            p.second[j] = v;
            p.value[j] = f.keep * p.value[j] - f.step_size * m / (std::sqrt(v) * f.root + f.epsilon);
        }
    }
};

/// The weighted squared error of an entry, whose gradient is written on the way.
template <class S>
struct weighted_error {
    matrix_view<const S> Y, target;
    const S* importance;  // null: ones
    matrix_view<S> gradient;

    SUBBIT_KERNEL double operator()(index t, index c) const {
        const S weight = importance != nullptr ? importance[c] : S(1), difference = Y(t, c) - target(t, c);
        gradient(t, c) = S(2) * weight * difference;
        return static_cast<double>(weight * difference * difference);
    }
};

template <class S>
struct weighted_square_entry {
    matrix_view<const S> X;
    const S* importance;  // null: ones

    SUBBIT_KERNEL double operator()(index t, index c) const {
        return static_cast<double>((importance != nullptr ? importance[c] : S(1)) * X(t, c) * X(t, c));
    }
};

/// Every token's relative squared error; a warp for each.
template <class S>
struct relative_error_rows {
    matrix_view<const S> Y, target;
    double per_token;
    matrix_view<S> d_Y;
    double* losses;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, Y.rows, [&](index t) {
            double error = 0, norm = 0;
            for (index c = block.lane(); c < Y.cols; c += warp_size) {
                const auto e = static_cast<double>(Y(t, c) - target(t, c)), y = static_cast<double>(target(t, c));
                error += e * e;
                norm += y * y;
            }
            error = block.warp_sum(error);
            norm = block.warp_sum(norm) + 1e-30;
            const S slope = static_cast<S>(2 * per_token / norm);
            for (index c = block.lane(); c < Y.cols; c += warp_size)
                d_Y(t, c) += slope * (Y(t, c) - target(t, c));
            if (block.lane() == 0) losses[t] = per_token * (error / norm);
        });
    }
};

/// log sum exp of a row by a whole block; every thread gets it.
template <class S, class Block>
SUBBIT_KERNEL double block_log_sum_exp(Block& block, const S* row, index n) {
    S top = row[0];
    for (index v = block.thread(); v < n; v += block.threads())
        top = row[v] > top ? row[v] : top;
    top = block.reduce(top, maximum{});
    double sum = 0;
    for (index v = block.thread(); v < n; v += block.threads())
        sum += static_cast<double>(std::exp(row[v] - top));
    return static_cast<double>(top) + std::log(block.sum(sum));
}

/// A block for each row of logits.
template <class S>
struct cross_entropy_row {
    matrix_view<S> logits;
    const std::int32_t* labels;
    S weight;
    bool gradient;
    double* losses;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for (index t = block.index(); t < logits.rows; t += block.blocks()) {
            S* const row = logits.row(t);
            const std::int32_t label = labels[t];
            const double lse = block_log_sum_exp(block, row, logits.cols);
            if (block.thread() == 0) losses[t] = label >= 0 ? lse - static_cast<double>(row[label]) : 0.0;
            block.sync();
            if (!gradient) continue;
            const S shift = static_cast<S>(lse), w = label >= 0 ? weight : S(0);
            for (index v = block.thread(); v < logits.cols; v += block.threads())
                row[v] = w * std::exp(row[v] - shift) - (v == label ? w : S(0));
        }
    }
};

/// A block for each row of the teacher's and the student's logits.
template <class S>
struct forward_kl_row {
    matrix_view<const S> teacher;
    matrix_view<S> student;
    const std::int32_t* labels;
    index label_count;
    double label_share;
    S weight;
    double* losses;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for (index t = block.index(); t < teacher.rows; t += block.blocks()) {
            const S* const of_teacher = teacher.row(t);
            S* const of_student = student.row(t);
            const bool labelled = label_share > 0 && t < label_count;
            const index label = labelled ? labels[t] : 0;
            const double share = labelled ? label_share : 0;
            const double lse_t = block_log_sum_exp(block, of_teacher, teacher.cols);
            const double lse_s = block_log_sum_exp(block, of_student, teacher.cols);
            const S shift_t = static_cast<S>(lse_t), shift_s = static_cast<S>(lse_s);
            const S offset = static_cast<S>(lse_s - lse_t), kept = static_cast<S>(1 - share);
            const double likelihood = static_cast<double>(of_student[label]) - lse_s;
            block.sync();  // until every thread has read the label's logit
            double sum = 0;
            for (index v = block.thread(); v < teacher.cols; v += block.threads()) {
                const S p = std::exp(of_teacher[v] - shift_t), x = of_student[v];
                sum += static_cast<double>(p * (of_teacher[v] - x + offset));
                const S of_label = v == label ? static_cast<S>(share) : S(0);
                of_student[v] = weight * (std::exp(x - shift_s) - kept * p - of_label);
            }
            sum = block.sum(sum);
            if (block.thread() == 0) losses[t] = (1 - share) * sum - share * likelihood;
        }
    }
};

/// A block for each of `rows`.
inline launch_shape cover_by_blocks(index rows) {
    constexpr index most_blocks = 2048;
    return {std::clamp<index>(rows, 1, most_blocks), 256};
}

}  // namespace gpu

}  // namespace subbit
