// Optimizers, estimators and losses, in loops that a host backend vectorizes (ops/train.hpp).
#pragma once

#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace subbit {

template <host_backend B, class S>
void do_apply_straight_through(reference_tag, const B& b, straight_through kind, matrix_view<const S> latent,
                               matrix_view<S> gradient) {
    vectorized_for(b, latent.rows, 16, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < latent.cols; ++j)
                gradient(i, j) *= straight_through_derivative(kind, latent(i, j));
    });
}

template <host_backend B, class S>
double do_sum_magnitudes(reference_tag, const B&, std::span<const S> values) {
    double sum = 0;
    for (const S x : values)
        sum += std::abs(static_cast<double>(x));
    return sum;
}

template <host_backend B, class S>
void do_widen_margin(reference_tag, const B&, std::span<S> latent, S margin) {
    for (S& x : latent)
        x += x >= S(0) ? margin : -margin;
}

template <host_backend B, class S>
void do_adamw_update(reference_tag, const B& b, const adamw_options& options, std::span<const adamw_slot<S>> slots,
                     std::span<const double> step) {
    for (const adamw_slot<S>& slot : slots)
        vectorized_for(b, slot.size, 1 << 15, [&](index begin, index end) {
            const adamw_slot<S> p = slot;  // copies that no store can change
            const adamw_factors<S> by(options, adamw_step::from(step.data()), p.rate);
#pragma omp simd
            for (index j = begin; j < end; ++j) {
                const S g = by.gradient_share * p.gradient[j];
                p.first[j] = by.beta1 * p.first[j] + (S(1) - by.beta1) * g;
                p.second[j] = by.beta2 * p.second[j] + (S(1) - by.beta2) * g * g;
                p.value[j] =
                    by.keep * p.value[j] - by.step_size * p.first[j] / (fast_sqrt(p.second[j]) * by.root + by.epsilon);
            }
        });
}

template <host_backend B>
void do_add_to_total(reference_tag, const B&, std::span<const double> numbers, double factor, std::span<double> total) {
    total[0] += factor * detail::sum_in_order(numbers);
}

template <host_backend B, class S>
double do_weighted_square(reference_tag, const B& b, matrix_view<const S> X, std::span<const S> importance) {
    std::vector<double> of_rows(static_cast<std::size_t>(X.rows));
    vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            double sum = 0;
            for (index c = 0; c < X.cols; ++c) {
                const S weight = importance.empty() ? S(1) : importance[static_cast<std::size_t>(c)];
                sum += static_cast<double>(weight * X(t, c) * X(t, c));
            }
            of_rows[static_cast<std::size_t>(t)] = sum;
        }
    });
    return detail::sum_in_order(of_rows);
}

template <host_backend B, class S>
void do_weighted_squared_error(reference_tag, const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                               std::span<const S> importance, matrix_view<S> gradient, std::span<double> total) {
    std::vector<double> row_loss(static_cast<std::size_t>(Y.rows));
    vectorized_for(b, Y.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            double sum = 0;
            for (index c = 0; c < Y.cols; ++c) {
                const S weight = importance.empty() ? S(1) : importance[static_cast<std::size_t>(c)];
                const S difference = Y(t, c) - target(t, c);
                gradient(t, c) = S(2) * weight * difference;
                sum += static_cast<double>(weight * difference * difference);
            }
            row_loss[static_cast<std::size_t>(t)] = sum;
        }
    });
    total[0] += detail::sum_in_order(row_loss);
}

template <host_backend B, class S>
void do_relative_squared_error(reference_tag, const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                               double per_token, matrix_view<S> d_Y, std::span<double> total) {
    std::vector<double> row_loss(static_cast<std::size_t>(Y.rows));
    vectorized_for(b, Y.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S *y = Y.row(t), *y0 = target.row(t);
            S* d = d_Y.row(t);
            double error = 0, norm = 1e-30;
            for (index c = 0; c < Y.cols; ++c) {
                const double e = static_cast<double>(y[c] - y0[c]);
                error += e * e;
                norm += static_cast<double>(y0[c]) * static_cast<double>(y0[c]);
            }
            const S slope = static_cast<S>(2 * per_token / norm);
            for (index c = 0; c < Y.cols; ++c)
                d[c] += slope * (y[c] - y0[c]);
            row_loss[static_cast<std::size_t>(t)] = per_token * (error / norm);
        }
    });
    total[0] += detail::sum_in_order(row_loss);
}

template <host_backend B, class S>
void do_cross_entropy_rows(reference_tag, const B& b, matrix_view<S> logits, std::span<const std::int32_t> labels,
                           S weight, bool gradient, std::span<double> losses) {
    vectorized_for(b, logits.rows, 4, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            S* row = logits.row(t);
            const std::int32_t label = labels[static_cast<std::size_t>(t)];
            const double lse = log_sum_exp(row, logits.cols);
            losses[static_cast<std::size_t>(t)] = label >= 0 ? lse - static_cast<double>(row[label]) : 0.0;
            if (!gradient) continue;
            const S shift = static_cast<S>(lse), w = label >= 0 ? weight : S(0);
#pragma omp simd
            for (index v = 0; v < logits.cols; ++v)
                row[v] = w * fast_exp(row[v] - shift);
            if (label >= 0) row[label] -= w;
        }
    });
}

template <host_backend B, class S>
void do_forward_kl_rows(reference_tag, const B& b, matrix_view<const S> teacher, matrix_view<S> student,
                        const hard_labels& labels, S weight, std::span<double> losses) {
    vectorized_for(b, teacher.rows, 4, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const S* pt = teacher.row(t);
            S* ps = student.row(t);
            const bool labelled = labels.share > 0 && t < std::ssize(labels.ids);
            const auto label = labelled ? labels.ids[static_cast<std::size_t>(t)] : 0;
            const double share = labelled ? labels.share : 0;
            const double lse_t = log_sum_exp(pt, teacher.cols),
                         lse_s = log_sum_exp(static_cast<const S*>(ps), teacher.cols);
            const double likelihood = static_cast<double>(ps[label]) - lse_s;
            const S shift_t = static_cast<S>(lse_t), shift_s = static_cast<S>(lse_s), w = weight;
            const S offset = static_cast<S>(lse_s - lse_t), of_teacher = static_cast<S>(1 - share);
            double sum = 0;
            constexpr index run = 256;
            for (index v0 = 0; v0 < teacher.cols; v0 += run) {
                S partial = 0;
#pragma omp simd reduction(+ : partial)
                for (index v = v0; v < std::min(teacher.cols, v0 + run); ++v) {
                    const S p = fast_exp(pt[v] - shift_t);
                    partial += p * (pt[v] - ps[v] + offset);
                    ps[v] = w * (fast_exp(ps[v] - shift_s) - of_teacher * p);
                }
                sum += static_cast<double>(partial);
            }
            ps[label] -= w * static_cast<S>(share);
            losses[static_cast<std::size_t>(t)] = (1 - share) * sum - share * likelihood;
        }
    });
}

}  // namespace subbit
