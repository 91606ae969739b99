// Losses over a vocabulary and their gradients. They run over chunks of tokens, so that no (tokens x vocabulary) matrix
// of all tokens ever exists. The squared errors are operations of the backend (ops/train.hpp).
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

namespace subbit {

/// The most tokens whose logits the host holds at once, and the most logits that the host and a device hold: a GPU
/// needs large products to be fast.
inline constexpr index vocabulary_chunk = 256, host_logits = index{1} << 25, device_logits = index{1} << 25;

template <class B>
index logits_at_once(index tokens, index vocabulary) {
    if (vocabulary == 0) throw value_error("a loss over an empty vocabulary");
    const index most =
        host_backend<B> ? std::min(vocabulary_chunk, host_logits / vocabulary) : device_logits / vocabulary;
    return std::min(tokens, std::max<index>(1, most));
}

/// Negative log-likelihood of the labels under softmax(hidden head^T), summed over the tokens whose label is >= 0, with
/// its gradient.
///
/// hidden (tokens, d), head (vocabulary, d), labels: tokens, on the host. d_hidden (tokens, d) receives weight *
/// gradient, or is an empty view; d_head (vocabulary, d) accumulates weight * gradient, or is empty.
template <class B, class S>
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
    const bool gradient = d_hidden.size() != 0 || d_head.size() != 0;
    const index chunk = logits_at_once<B>(hidden.rows, head.rows);
    matrix_in<S, memory_of<B>> logits;
    reshape(b, logits, chunk, head.rows);
    const auto wanted = upload(b, labels);
    auto losses = allocate<double>(b, hidden.rows);
    for (index start = 0; start < hidden.rows; start += chunk) {
        const index tokens = std::min(chunk, hidden.rows - start);
        const auto from = static_cast<std::size_t>(start), count = static_cast<std::size_t>(tokens);
        const auto h = hidden.middle_rows(start, tokens);
        const auto l = view(logits).middle_rows(0, tokens);
        gemm(b, h, head.t(), l);
        cross_entropy_rows(b, l, const_span(wanted).subspan(from, count), weight, gradient,
                           span_of(losses).subspan(from, count));
        if (d_hidden.size() != 0) gemm(b, l, head, d_hidden.middle_rows(start, tokens));
        if (d_head.size() != 0) gemm(b, l.t(), h, d_head, 1, 1);
    }
    return detail::sum_in_order(const_span(on_host(b, losses)));
}

/// losses[t] = KL(teacher || student) of token t at temperature 1, both softmaxes over the same head, of which `labels`
/// replace a share, and the gradient of their sum with respect to the student's hidden states (docs/method.md, eq. 43).
///
/// teacher, student (tokens, d); head (vocabulary, d); losses: tokens, in the backend's memory; d_student (tokens, d)
/// receives weight * gradient, or is empty.
template <class B, class S>
void forward_kl(const B& b, matrix_view<const S> teacher, matrix_view<const S> student, matrix_view<const S> head,
                double weight, matrix_view<S> d_student, std::span<double> losses, const hard_labels& labels = {}) {
    require_size("forward_kl: losses", std::ssize(losses), teacher.rows);
    require_shape("forward_kl: student", student.rows, student.cols, teacher.rows, teacher.cols);
    if (d_student.size() != 0)
        require_shape("forward_kl: d_student", d_student.rows, d_student.cols, student.rows, student.cols);
    const index chunk = logits_at_once<B>(teacher.rows, head.rows);
    // One product reads the head for both.
    matrix_in<S, memory_of<B>> hidden, logits;
    reshape(b, hidden, 2 * chunk, head.cols);
    reshape(b, logits, 2 * chunk, head.rows);
    for (index start = 0; start < teacher.rows; start += chunk) {
        const index tokens = std::min(chunk, teacher.rows - start);
        const auto both = view(hidden).middle_rows(0, 2 * tokens);
        axpby(b, 1, teacher.middle_rows(start, tokens), 0, both.middle_rows(0, tokens));
        axpby(b, 1, student.middle_rows(start, tokens), 0, both.middle_rows(tokens, tokens));
        gemm(b, matrix_view<const S>(both), head.t(), view(logits).middle_rows(0, 2 * tokens));
        const auto lt = view(logits).middle_rows(0, tokens), ls = view(logits).middle_rows(tokens, tokens);
        forward_kl_rows(b, matrix_view<const S>(lt), ls, labels.from(start), weight,
                        losses.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(tokens)));
        if (d_student.size() != 0) gemm(b, ls, head, d_student.middle_rows(start, tokens));
    }
}

/// The sum of these losses; waits for the backend.
template <class B, class S>
double forward_kl(const B& b, matrix_view<const S> teacher, matrix_view<const S> student, matrix_view<const S> head,
                  double weight, matrix_view<S> d_student) {
    auto losses = allocate<double>(b, teacher.rows);
    forward_kl(b, teacher, student, head, weight, d_student, span_of(losses));
    return detail::sum_in_order(const_span(on_host(b, losses)));
}

}  // namespace subbit
