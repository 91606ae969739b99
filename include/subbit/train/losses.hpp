// Losses and their gradients. Those over a vocabulary run over chunks of tokens, so that no (tokens x vocabulary)
// matrix of all tokens ever exists.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/core/math.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace subbit {

/// sum_{t,c} importance_c (Y - Y*)^2 and its gradient 2 importance o (Y - Y*) (nanoquant.md section 5).
///
/// Y, target, gradient: (tokens, channels); importance: channels, or empty for ones. Accumulates in double per token
/// row, rows in order. Returns the sum over all entries.
template <host_backend B, class S>
double weighted_squared_error(const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                              std::span<const S> importance, matrix_view<S> gradient) {
    require_shape("weighted_squared_error: target", target.rows, target.cols, Y.rows, Y.cols);
    require_shape("weighted_squared_error: gradient", gradient.rows, gradient.cols, Y.rows, Y.cols);
    if (!importance.empty()) require_size("weighted_squared_error: importance", std::ssize(importance), Y.cols);
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
    double loss = 0;
    for (const double r : row_loss)
        loss += r;
    return loss;
}

/// The mean over tokens of |y - y*|^2 / |y*|^2, every token counting alike however large its hidden state, times
/// `weight`; the gradient is added to d_Y. Y, target, d_Y: (tokens, channels). Accumulates in double per token, tokens
/// in order (the hidden states' part of the loss of arXiv 2602.05367; rabit.md section 5).
template <host_backend B, class S>
double relative_squared_error(const B& b, matrix_view<const S> Y, matrix_view<const S> target, double weight,
                              matrix_view<S> d_Y) {
    require_shape("relative_squared_error: target", target.rows, target.cols, Y.rows, Y.cols);
    require_shape("relative_squared_error: d_Y", d_Y.rows, d_Y.cols, Y.rows, Y.cols);
    std::vector<double> row_loss(static_cast<std::size_t>(Y.rows));
    const double per_token = weight / static_cast<double>(std::max<index>(1, Y.rows));
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
            row_loss[static_cast<std::size_t>(t)] = error / norm;
        }
    });
    double loss = 0;
    for (const double r : row_loss)
        loss += per_token * r;
    return loss;
}

/// log sum exp of n > 0 logits: runs of 256 in the scalar type, joined in double.
template <class S>
double log_sum_exp(const S* logits, index n) {
    S top = logits[0];
#pragma omp simd reduction(max : top)
    for (index i = 1; i < n; ++i)
        top = std::max(top, logits[i]);
    double total = 0;
    constexpr index run = 256;  // short runs sum in the scalar type, so that the loop vectorizes, and join in double
    for (index start = 0; start < n; start += run) {
        const index stop = std::min(n, start + run);
        S partial = 0;
#pragma omp simd reduction(+ : partial)
        for (index i = start; i < stop; ++i)
            partial += fast_exp(logits[i] - top);
        total += static_cast<double>(partial);
    }
    return static_cast<double>(top) + std::log(total);
}

/// How many tokens' logits are held at once.
inline constexpr index vocabulary_chunk = 128;

/// Negative log-likelihood of the labels under softmax(hidden head^T), summed over the tokens whose label is >= 0, with
/// its gradient.
///
/// hidden (tokens, d), head (vocabulary, d), labels: tokens. d_hidden (tokens, d) receives weight * gradient, or is an
/// empty view; d_head (vocabulary, d) accumulates weight * gradient, or is empty.
template <host_backend B, class S>
double cross_entropy(const B& b, matrix_view<const S> hidden, matrix_view<const S> head,
                     std::span<const std::int32_t> labels, double weight, matrix_view<S> d_hidden,
                     matrix_view<S> d_head = {}) {
    require_size("cross_entropy: labels", std::ssize(labels), hidden.rows);
    if (d_hidden.size() != 0)
        require_shape("cross_entropy: d_hidden", d_hidden.rows, d_hidden.cols, hidden.rows, hidden.cols);
    for (const std::int32_t label : labels)
        if (label >= head.rows)
            throw value_error("cross_entropy: label " + std::to_string(label) + ", expected one below " +
                              std::to_string(head.rows));
    const index chunk = std::min(vocabulary_chunk, hidden.rows);
    matrix<S> logits(chunk, head.rows);
    double loss = 0;
    for (index start = 0; start < hidden.rows; start += chunk) {
        const index tokens = std::min(chunk, hidden.rows - start);
        const auto h = hidden.middle_rows(start, tokens);
        const auto l = view(logits).middle_rows(0, tokens);
        gemm(b, h, head.t(), l);
        std::vector<double> row_loss(static_cast<std::size_t>(tokens), 0.0);
        vectorized_for(b, tokens, 4, [&](index begin, index end) {
            for (index t = begin; t < end; ++t) {
                S* row = l.row(t);
                const std::int32_t label = labels[static_cast<std::size_t>(start + t)];
                const double lse = log_sum_exp(row, head.rows);
                if (label >= 0) row_loss[static_cast<std::size_t>(t)] = lse - static_cast<double>(row[label]);
                if (d_hidden.size() == 0 && d_head.size() == 0) continue;
                const S shift = static_cast<S>(lse), w = label >= 0 ? static_cast<S>(weight) : S(0);
                for (index v = 0; v < head.rows; ++v)
                    row[v] = w * fast_exp(row[v] - shift);
                if (label >= 0) row[label] -= w;
            }
        });
        for (const double r : row_loss)
            loss += r;
        if (d_hidden.size() != 0) gemm(b, l, head, d_hidden.middle_rows(start, tokens));
        if (d_head.size() != 0) gemm(b, l.t(), h, d_head, 1, 1);
    }
    return loss;
}

/// sum over tokens of KL(teacher || student) at temperature 1, both softmaxes over the same head, and the gradient with
/// respect to the student's hidden states (nanoquant.md section 6).
///
/// teacher, student (tokens, d); head (vocabulary, d); d_student (tokens, d) receives weight * gradient, or is empty.
template <host_backend B, class S>
double forward_kl(const B& b, matrix_view<const S> teacher, matrix_view<const S> student, matrix_view<const S> head,
                  double weight, matrix_view<S> d_student) {
    require_shape("forward_kl: student", student.rows, student.cols, teacher.rows, teacher.cols);
    if (d_student.size() != 0)
        require_shape("forward_kl: d_student", d_student.rows, d_student.cols, student.rows, student.cols);
    const index chunk = std::min(vocabulary_chunk, teacher.rows);
    matrix<S> teacher_logits(chunk, head.rows), student_logits(chunk, head.rows);
    double loss = 0;
    for (index start = 0; start < teacher.rows; start += chunk) {
        const index tokens = std::min(chunk, teacher.rows - start);
        const auto lt = view(teacher_logits).middle_rows(0, tokens);
        const auto ls = view(student_logits).middle_rows(0, tokens);
        gemm(b, teacher.middle_rows(start, tokens), head.t(), lt);
        gemm(b, student.middle_rows(start, tokens), head.t(), ls);
        std::vector<double> row_loss(static_cast<std::size_t>(tokens), 0.0);
        vectorized_for(b, tokens, 4, [&](index begin, index end) {
            for (index t = begin; t < end; ++t) {
                const S* pt = lt.row(t);
                S* ps = ls.row(t);
                const double lse_t = log_sum_exp(pt, head.rows),
                             lse_s = log_sum_exp(static_cast<const S*>(ps), head.rows);
                const S shift_t = static_cast<S>(lse_t), shift_s = static_cast<S>(lse_s), w = static_cast<S>(weight);
                const S offset = static_cast<S>(lse_s - lse_t);
                double sum = 0;
                constexpr index run = 256;
                for (index v0 = 0; v0 < head.rows; v0 += run) {
                    S partial = 0;
#pragma omp simd reduction(+ : partial)
                    for (index v = v0; v < std::min(head.rows, v0 + run); ++v) {
                        const S p = fast_exp(pt[v] - shift_t);
                        partial += p * (pt[v] - ps[v] + offset);
                        ps[v] = w * (fast_exp(ps[v] - shift_s) - p);
                    }
                    sum += static_cast<double>(partial);
                }
                row_loss[static_cast<std::size_t>(t)] = sum;
            }
        });
        for (const double r : row_loss)
            loss += r;
        if (d_student.size() != 0) gemm(b, ls, head, d_student.middle_rows(start, tokens));
    }
    return loss;
}

}  // namespace subbit
