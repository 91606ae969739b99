// Rotary embedding and causal grouped-query attention, with or without a sliding window, forward and backward, over
// blocks of queries: a score matrix never exceeds (query_block x keys) per thread, and keys that a block cannot see are
// never touched. A GPU's versions are in ../gpu/attention.hpp.
#pragma once

#include "model/norm.hpp"
#include "model/rotary.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/kernel.hpp>
#include <subbit/core/math.hpp>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>
#include <vector>

namespace llama {

using subbit::const_view;
using subbit::gemm;

/// Rotates each head's halves in place; row t has position first_position + t mod window. `direction` -1 is the
/// transpose, which is the backward pass.
template <device_backend B, class S>
void rotate(const B& b, const rotary_table<S, B>& table, matrix_view<S> X, index head_dim, index window,
            index first_position, S direction);

template <subbit::host_backend B, class S>
void rotate(const B& b, const rotary_table<S>& table, matrix_view<S> X, index head_dim, index window,
            index first_position, S direction) {
    const index heads = X.cols / head_dim, half = head_dim / 2;
    subbit::vectorized_for(b, X.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t) {
            const index position = first_position + t % window;
            const S *c = &table.cosine(position, 0), *s = &table.sine(position, 0);
            for (index h = 0; h < heads; ++h) {
                S *low = &X(t, h * head_dim), *high = low + half;
                for (index j = 0; j < half; ++j) {
                    const S a = low[j], z = high[j], sj = direction * s[j];
                    low[j] = a * c[j] - z * sj;
                    high[j] = z * c[j] + a * sj;
                }
            }
        }
    });
}

/// The earliest position that a query at `position` sees: of a sliding window of `span` tokens, its own among them, or
/// of all tokens where span is 0.
SUBBIT_KERNEL constexpr index first_seen(index position, index span) {
    return span == 0 || position < span ? 0 : position - span + 1;
}

/// The sizes of one attention call: `queries` rows per window attend to `keys` rows; query i sits at position
/// keys - queries + i of its window. Scores are multiplied by `scale`; `span` as in first_seen().
struct attention_shape {
    index windows, queries, keys, heads, kv_heads, head_dim;
    double scale;
    index span = 0;

    SUBBIT_KERNEL constexpr bool sees(index position, index key) const {
        return key <= position && (span == 0 || key > position - span);
    }
};

inline constexpr index query_block = 128;

namespace detail {

/// The keys that a block of queries sees, by position: from the first one that its first query sees.
struct visible_keys {
    index begin, end;

    /// Of `rows` queries, the first of which is at position `first`.
    visible_keys(index first, index rows, index span) : begin(first_seen(first, span)), end(first + rows) {}
    index count() const { return end - begin; }
    /// The most that any block of queries can see.
    static index most(const attention_shape& s) {
        return s.span == 0 ? s.keys : std::min(s.keys, s.span + std::min(query_block, s.queries) - 1);
    }
};

/// P <- softmax of each row i over its entries first_seen(first + i, span) .. first + i, zero elsewhere.
template <class S>
void softmax_rows(index first, index span, matrix_view<S> P) {
    for (index i = 0; i < P.rows; ++i) {
        const index begin = first_seen(first + i, span), seen = first + i + 1 - begin;
        std::fill_n(P.row(i), begin, S(0));
        S* p = P.row(i) + begin;
        const S top = subbit::largest_of(seen, [&](index j) { return p[j]; });
        // Whole registers: some numbers beyond the seen ones cost less than a last step for each that is left.
        const index padded = std::min(P.cols - begin, (seen + 15) / 16 * 16);
#pragma omp simd
        for (index j = 0; j < padded; ++j)
            p[j] = subbit::fast_exp(p[j] - top);
        S total = 0;
#pragma omp simd reduction(+ : total)
        for (index j = 0; j < seen; ++j)
            total += p[j];
        const S inverse = S(1) / total;
#pragma omp simd
        for (index j = 0; j < seen; ++j)
            p[j] *= inverse;
        std::fill(p + seen, P.row(i) + P.cols, S(0));
    }
}

/// P (rows, keys) <- softmax of the scores scale Q K^T; key j has the position j, row i the position first + i.
template <class B, class S>
void causal_softmax(const B& b, const attention_shape& s, matrix_view<const S> Q, matrix_view<const S> K, index first,
                    matrix_view<S> P) {
    gemm(b, Q, K.t(), P, s.scale);
    subbit::vectorized(b, [&] { softmax_rows(first, s.span, P); });
}

/// dX (tokens, kv_heads * head_dim) <- the sums over the query heads of each key head, in their order, of `heads`
/// (tokens, heads * head_dim).
template <class B, class S>
void sum_heads(const B& b, const attention_shape& s, const matrix<S>& heads, matrix_view<S> dX) {
    const index group = s.heads / s.kv_heads;
    b.parallel_for(dX.rows, 16, [&](index begin, index end) {
        for (index t = begin; t < end; ++t)
            for (index kh = 0; kh < s.kv_heads; ++kh)
                for (index c = 0; c < s.head_dim; ++c) {
                    S sum = 0;
                    for (index g = 0; g < group; ++g)
                        sum += heads(t, (kh * group + g) * s.head_dim + c);
                    dX(t, kh * s.head_dim + c) = sum;
                }
    });
}

}  // namespace detail

/// O = softmax(scale Q K^T over the keys that a query sees) V per window and head.
///
/// Q, O (windows*queries, heads*head_dim); K, V (windows*keys, kv_heads*head_dim). Head h reads key head
/// h*kv_heads/heads.
template <device_backend B, class S>
void attention(const B& b, const attention_shape& s, matrix_view<const S> Q, matrix_view<const S> K,
               matrix_view<const S> V, matrix_view<S> O);

template <subbit::host_backend B, class S>
void attention(const B& b, const attention_shape& s, matrix_view<const S> Q, matrix_view<const S> K,
               matrix_view<const S> V, matrix_view<S> O) {
    b.parallel_for(s.windows * s.heads, 1, [&](index begin, index end) {
        std::vector<S> scores(
            static_cast<std::size_t>(std::min(query_block, s.queries) * detail::visible_keys::most(s)));
        for (index wh = begin; wh < end; ++wh) {
            const index w = wh / s.heads, h = wh % s.heads, kh = h * s.kv_heads / s.heads;
            for (index q0 = 0; q0 < s.queries; q0 += query_block) {
                const index rows = std::min(query_block, s.queries - q0), first = s.keys - s.queries + q0;
                const detail::visible_keys seen(first, rows, s.span);
                const matrix_view<S> P(scores.data(), rows, seen.count());
                const auto k = K.block(w * s.keys + seen.begin, kh * s.head_dim, seen.count(), s.head_dim);
                const auto v = V.block(w * s.keys + seen.begin, kh * s.head_dim, seen.count(), s.head_dim);
                const auto q = Q.block(w * s.queries + q0, h * s.head_dim, rows, s.head_dim);
                detail::causal_softmax(b, s, q, k, first - seen.begin, P);
                gemm(b, P, v, O.block(w * s.queries + q0, h * s.head_dim, rows, s.head_dim));
            }
        }
    });
}

/// What attention() read, and the O that it wrote.
template <class S>
struct attention_values {
    matrix_view<const S> Q, K, V, O;
};

/// Where the gradients of Q, K and V go.
template <class S>
struct attention_gradients {
    matrix_view<S> Q, K, V;
};

/// Gradients of attention() with queries == keys, which overwrite d, by that of O. The probabilities are computed
/// again.
///
/// Each query head adds to the gradients of its key head's own copy; the copies are summed in head order at the end.
template <device_backend B, class S>
void attention_backward(const B& b, const attention_shape& s, const std::type_identity_t<attention_values<S>>& x,
                        matrix_view<const S> dO, const std::type_identity_t<attention_gradients<S>>& d);

template <subbit::host_backend B, class S>
void attention_backward(const B& b, const attention_shape& s, const std::type_identity_t<attention_values<S>>& x,
                        matrix_view<const S> dO, const std::type_identity_t<attention_gradients<S>>& d) {
    const S scale = static_cast<S>(s.scale);
    matrix<S> dK_heads = matrix<S>::Zero(x.Q.rows, x.Q.cols), dV_heads = matrix<S>::Zero(x.Q.rows, x.Q.cols);
    b.parallel_for(s.windows * s.heads, 1, [&](index begin, index end) {
        const index block = std::min(query_block, s.queries);
        std::vector<S> probabilities(static_cast<std::size_t>(block * detail::visible_keys::most(s))),
            gradients(probabilities.size());
        for (index wh = begin; wh < end; ++wh) {
            const index w = wh / s.heads, h = wh % s.heads, kh = h * s.kv_heads / s.heads;
            for (index q0 = 0; q0 < s.queries; q0 += query_block) {
                const index rows = std::min(query_block, s.queries - q0), at = w * s.queries;
                const detail::visible_keys seen(q0, rows, s.span);
                const index from = at + seen.begin, visible = seen.count();
                const matrix_view<S> P(probabilities.data(), rows, visible), dP(gradients.data(), rows, visible);
                const auto q = x.Q.block(at + q0, h * s.head_dim, rows, s.head_dim);
                const auto k = x.K.block(from, kh * s.head_dim, visible, s.head_dim);
                const auto v = x.V.block(from, kh * s.head_dim, visible, s.head_dim);
                const auto o = x.O.block(at + q0, h * s.head_dim, rows, s.head_dim);
                const auto d_o = dO.block(at + q0, h * s.head_dim, rows, s.head_dim);
                detail::causal_softmax(b, s, q, k, q0 - seen.begin, P);
                gemm(b, P.t(), d_o, view(dV_heads).block(from, h * s.head_dim, visible, s.head_dim), 1, 1);
                gemm(b, d_o, v.t(), dP);
                subbit::vectorized(b, [&] {
                    for (index i = 0; i < rows; ++i) {
                        S dot = 0;  // sum_j P dP = o . dO
#pragma omp simd reduction(+ : dot)
                        for (index c = 0; c < s.head_dim; ++c)
                            dot += o(i, c) * d_o(i, c);
                        const S* p = &P(i, 0);
                        S* g = &dP(i, 0);
#pragma omp simd
                        for (index j = 0; j < visible; ++j)
                            g[j] = p[j] * (g[j] - dot) * scale;
                    }
                });
                gemm(b, dP, k, d.Q.block(at + q0, h * s.head_dim, rows, s.head_dim));
                gemm(b, dP.t(), q, view(dK_heads).block(from, h * s.head_dim, visible, s.head_dim), 1, 1);
            }
        }
    });
    detail::sum_heads(b, s, dK_heads, d.K);
    detail::sum_heads(b, s, dV_heads, d.V);
}

// Compiled once, in attention.cpp, with the program's optimization.
extern template void attention<subbit::cpu, float>(const subbit::cpu&, const attention_shape&,
                                                   matrix_view<const float> Q, matrix_view<const float> K,
                                                   matrix_view<const float> V, matrix_view<float> O);
extern template void attention_backward<subbit::cpu, float>(const subbit::cpu&, const attention_shape&,
                                                            const attention_values<float>&, matrix_view<const float> dO,
                                                            const attention_gradients<float>&);

}  // namespace llama
