// Attention of the newest tokens to all tokens before them: what generation spends its time on besides weights.
#pragma once

#include "model/attention.hpp"
#include "model/key_value_cache.hpp"

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>

#include <algorithm>

namespace llama {

namespace detail {

/// P(h, 0..tile) = scale q_h . k_t for the H queries q (H, head_dim) of one key head and the keys of one tile, K
/// (head_dim, tile).
template <index H, index Register, class S, class Stored>
[[gnu::always_inline]] inline void scores_of_queries(matrix_view<const S> q, matrix_view<const Stored> K, S scale,
                                                     matrix_view<S> P) {
    using pack = subbit::lanes<S, Register>;
    pack low[H] = {}, high[H] = {};
    for (index d = 0; d < K.rows; ++d) {
        pack k0, k1;
        cache_number<S, Stored>::load(k0, K.row(d), pack::count);
        cache_number<S, Stored>::load(k1, K.row(d) + pack::count, pack::count);
        for (index h = 0; h < H; ++h) {
            low[h].add_product(q(h, d), k0);
            high[h].add_product(q(h, d), k1);
        }
    }
    for (index h = 0; h < H; ++h) {
        low[h].multiply(scale);
        high[h].multiply(scale);
        low[h].store(P.row(h), pack::count);
        high[h].store(P.row(h) + pack::count, pack::count);
    }
}

/// O(h, c..) = sum_t P(h,t) V(t, c..), `N` registers wide, of which the last holds `tail` numbers; with `more` it goes
/// on from the sums in O, as if the values of all tiles were one matrix.
template <index H, index N, index Register, class S, class Stored>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const Stored> V, index c,
                                                   index tail, bool more, matrix_view<S> O) {
    using pack = subbit::lanes<S, Register>;
    pack sum[H][N] = {};
    if (more)
        for (index h = 0; h < H; ++h)
            for (index n = 0; n < N; ++n)
                sum[h][n].load(O.row(h) + c + n * pack::count, n + 1 < N ? pack::count : tail);
    for (index t = 0; t < V.rows; ++t)
        for (index n = 0; n < N; ++n) {
            pack v;
            cache_number<S, Stored>::load(v, V.row(t) + c + n * pack::count, n + 1 < N ? pack::count : tail);
            for (index h = 0; h < H; ++h)
                sum[h][n].add_product(P(h, t), v);
        }
    for (index h = 0; h < H; ++h)
        for (index n = 0; n < N; ++n)
            sum[h][n].store(O.row(h) + c + n * pack::count, n + 1 < N ? pack::count : tail);
}

/// All columns of O (H, head_dim).
template <index H, index Register, class S, class Stored>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const Stored> V, bool more,
                                                   matrix_view<S> O) {
    constexpr index count = subbit::lanes<S, Register>::count;
    index c = 0;
    for (; c + 2 * count <= V.cols; c += 2 * count)
        weighted_values<H, 2, Register>(P, V, c, count, more, O);
    for (; c < V.cols; c += count)
        weighted_values<H, 1, Register>(P, V, c, std::min(count, V.cols - c), more, O);
}

/// Queries that keep their sums in registers.
inline constexpr index queries_at_once = 4;
/// Queries that take a tile of the cache in turn, where a prompt has as many: then it is read once for all of them.
inline constexpr index queries_of_a_tile = 16;

/// The queries of neighbouring tokens to one key head. Those of one query head lie together, a row for each token.
template <class S>
struct head_queries {
    matrix_view<const S> rows;  // (query heads * tokens, head_dim)
    index tokens, head;
    index position;  // of the first token
};

/// O = attention of the queries, a row each, to the last `span` tokens (0: all); scores are multiplied by `scale`. P
/// (queries, tokens held) is scratch, whose first column is the first key of a tile. Tokens take whole tiles together:
/// a weight of zero stands for a key that one of them does not see.
template <index Register, class S, class Stored>
[[gnu::always_inline]] inline void attend(const head_queries<S>& queries, S scale, const cache_tiles<S, Stored>& tiles,
                                          index span, matrix_view<S> P, matrix_view<S> O) {
    constexpr index tile = cache_tiles<S, Stored>::tile;
    const matrix_view<const S> q = queries.rows;
    const index head = queries.head, tokens = queries.tokens, position = queries.position;
    const index begin = first_seen(position, span), end = position + tokens;
    const index first_tile = begin / tile, origin = first_tile * tile;
    for (index t = first_tile; t * tile < end; ++t)
        subbit::for_even_runs<queries_at_once>(q.rows, [&](auto few, index first) {
            scores_of_queries<few, Register>(q.middle_rows(first, few), tiles.keys(t, head), scale,
                                             P.block(first, t * tile - origin, few, tile));
        });
    for (index h = 0; h < q.rows; h += tokens)
        softmax_rows(position - begin, span, P.block(h, begin - origin, tokens, end - begin));
    for (index from = begin, to; from < end; from = to) {
        const index t = from / tile;
        to = std::min(end, (t + 1) * tile);
        const auto V = tiles.values(t, head).middle_rows(from - t * tile, to - from);
        subbit::for_even_runs<queries_at_once>(q.rows, [&](auto few, index first) {
            weighted_values<few, Register>(matrix_view<const S>(P.block(first, from - origin, few, to - from)), V,
                                           from != begin, O.middle_rows(first, few));
        });
    }
}

/// cached_attention() with the cache's tiles.
template <class B, class S, class Stored>
void attend_to_tiles(const B& b, S scale, matrix_view<const S> Q, const key_value_cache<S>& cache,
                     const cache_tiles<S, Stored>& tiles, matrix_view<S> O) {
    const index head_dim = cache.head_dim(), kv_heads = cache.kv_heads(), group = Q.cols / cache.width(),
                at_once = std::max<index>(1, std::min(queries_of_a_tile / group, Q.rows)),
                tasks = (Q.rows + at_once - 1) / at_once * kv_heads;
    constexpr double serial_work = 6e4;  // multiply-adds that are not worth a second thread
    const index seen = cache.span() == 0 ? cache.length() : std::min(cache.length(), cache.span());
    const bool few = 2.0 * static_cast<double>(Q.size() * seen) < serial_work;
    b.parallel_for(tasks, few ? tasks : 1, [&](index begin, index end) {
        struct rows_scratch;
        const index rows = group * at_once;
        S* const memory =
            subbit::thread_scratch<rows_scratch>().template reserve<S>(rows * (2 * head_dim + cache.held()));
        subbit::vectorized(b, [&](auto registers) {
            for (index task = begin; task < end; ++task) {
                const index first = task / kv_heads * at_once, tokens = std::min(at_once, Q.rows - first),
                            head = task % kv_heads, column = head * group * head_dim;
                const matrix_view<S> q(memory, group * tokens, head_dim), o(memory + rows * head_dim, q.rows, head_dim),
                    P(memory + 2 * rows * head_dim, q.rows, cache.held());
                const auto place = [&](auto X, index row) {
                    return &X(first + row % tokens, column + row / tokens * head_dim);
                };
                for (index row = 0; row < q.rows; ++row)
                    std::copy_n(place(Q, row), head_dim, q.row(row));
                const head_queries<S> queries{q, tokens, head, cache.length() - Q.rows + first};
                attend<decltype(registers)::value>(queries, scale, tiles, cache.span(), P, o);
                for (index row = 0; row < q.rows; ++row)
                    std::copy_n(o.row(row), head_dim, place(O, row));
            }
        });
    });
}

}  // namespace detail

/// O = attention of the newest tokens' queries Q (tokens, heads * head_dim) to those before them in `cache`, in which
/// their keys and values are the last; scores are multiplied by `scale`. Sums are accumulated in S, those over tokens
/// in their order.
template <class B, class S>
void cached_attention(const B& b, double scale, matrix_view<const S> Q, const key_value_cache<S>& cache,
                      matrix_view<S> O) {
    cache.visit_tiles(
        [&](const auto& tiles) { detail::attend_to_tiles(b, static_cast<S>(scale), Q, cache, tiles, O); });
}

}  // namespace llama
