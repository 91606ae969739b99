// Attention of the newest tokens to all tokens before them: what generation spends its time on besides weights.
#pragma once

#include "model/attention.hpp"

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>

#include <algorithm>
#include <cmath>
#include <string>

namespace llama {

/// Keys and values of the tokens that a block has seen. Keys lie in tiles of neighbours, each transposed: a register
/// then holds one entry of many keys, no product with a query has to be summed across a register, and all keys of a
/// head in a tile are one piece of memory.
template <class S>
class key_value_cache {
  public:
    /// Keys of a tile.
    static constexpr index tile = 2 * subbit::lanes<S>::count;

    /// Room for `capacity` tokens of kv_heads * head_dim = `width` numbers.
    key_value_cache(index capacity, index width)
        : keys_((capacity + tile - 1) / tile, width * tile), values_(capacity, width) {}

    index length() const { return length_; }
    index width() const { return values_.cols(); }
    /// Tokens that there is room for, rounded up to whole tiles.
    index capacity() const { return keys_.rows() * tile; }
    /// (width, tile): the keys of tokens tile * t.., zero beyond the newest.
    matrix_view<const S> key_tile(index t) const { return {keys_.data() + t * keys_.cols(), width(), tile}; }
    /// (length, width)
    matrix_view<const S> values() const { return const_view(values_).middle_rows(0, length_); }

    /// shape_error where `tokens` more do not fit.
    void require_room(index tokens) const {
        if (length_ + tokens > values_.rows())
            throw subbit::shape_error("cache of " + std::to_string(values_.rows()) +
                                      " tokens: " + std::to_string(length_ + tokens) + " do not fit");
    }

    /// The keys and values (tokens, width) of the next tokens; shape_error where there is no room.
    void append(matrix_view<const S> K, matrix_view<const S> V) {
        subbit::require_shape("cache: keys", K.rows, K.cols, V.rows, width());
        require_room(K.rows);
        for (index i = 0; i < K.rows; ++i, ++length_) {
            S* const keys = &keys_(length_ / tile, 0);
            const index at = length_ % tile;
            if (at == 0) std::fill_n(keys, keys_.cols(), S(0));
            for (index c = 0; c < K.cols; ++c)
                keys[c * tile + at] = K(i, c);
            std::copy_n(V.row(i), V.cols, &values_(length_, 0));
        }
    }

  private:
    matrix<S> keys_;    // (tiles, width * tile)
    matrix<S> values_;  // (capacity, width)
    index length_ = 0;
};

namespace detail {

/// P(h, 0..tile) = scale q_h . k_t for the H queries q (H, head_dim) of one key head and the keys of one tile, K
/// (head_dim, tile).
template <index H, class S>
[[gnu::always_inline]] inline void scores_of_queries(matrix_view<const S> q, matrix_view<const S> K, S scale,
                                                     matrix_view<S> P) {
    using pack = subbit::lanes<S>;
    pack low[H] = {}, high[H] = {};
    for (index d = 0; d < K.rows; ++d) {
        pack k0, k1;
        k0.load(K.row(d), pack::count);
        k1.load(K.row(d) + pack::count, pack::count);
        for (index h = 0; h < H; ++h) {
            low[h].v += q(h, d) * k0.v;
            high[h].v += q(h, d) * k1.v;
        }
    }
    for (index h = 0; h < H; ++h) {
        low[h].v *= scale;
        high[h].v *= scale;
        low[h].store(P.row(h), pack::count);
        high[h].store(P.row(h) + pack::count, pack::count);
    }
}

/// O(h, c..) = sum_t P(h,t) V(t, c..), `N` registers wide, of which the last holds `tail` numbers.
template <index H, index N, class S>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const S> V, index c, index tail,
                                                   matrix_view<S> O) {
    using pack = subbit::lanes<S>;
    pack sum[H][N] = {};
    for (index t = 0; t < V.rows; ++t)
        for (index n = 0; n < N; ++n) {
            pack v;
            v.load(V.row(t) + c + n * pack::count, n + 1 < N ? pack::count : tail);
            for (index h = 0; h < H; ++h)
                sum[h][n].v += P(h, t) * v.v;
        }
    for (index h = 0; h < H; ++h)
        for (index n = 0; n < N; ++n)
            sum[h][n].store(O.row(h) + c + n * pack::count, n + 1 < N ? pack::count : tail);
}

/// All columns of O (H, head_dim).
template <index H, class S>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const S> V, matrix_view<S> O) {
    constexpr index count = subbit::lanes<S>::count;
    index c = 0;
    for (; c + 2 * count <= V.cols; c += 2 * count)
        weighted_values<H, 2>(P, V, c, count, O);
    for (; c < V.cols; c += count)
        weighted_values<H, 1>(P, V, c, std::min(count, V.cols - c), O);
}

/// O (H, head_dim) = attention of H queries q of key head `head` to the first `visible` tokens; P (H, capacity) is
/// scratch.
template <index H, class S>
[[gnu::always_inline]] inline void attend(matrix_view<const S> q, index head, const key_value_cache<S>& cache,
                                          index visible, matrix_view<S> P, matrix_view<S> O) {
    constexpr index tile = key_value_cache<S>::tile;
    const index head_dim = q.cols;
    const S scale = S(1) / std::sqrt(static_cast<S>(head_dim));
    for (index t = 0; t < visible; t += tile)
        scores_of_queries<H>(q, cache.key_tile(t / tile).middle_rows(head * head_dim, head_dim), scale,
                             P.middle_cols(t, tile));
    for (index h = 0; h < H; ++h)
        softmax_rows(visible - 1, P.block(h, 0, 1, visible));
    weighted_values<H>(matrix_view<const S>(P), cache.values().block(0, head * head_dim, visible, head_dim), O);
}

}  // namespace detail

/// O = causal attention of the newest tokens' queries Q (tokens, heads * head_dim) to `cache`, in which their keys and
/// values are the last. Sums are accumulated in S, those over tokens in their order.
template <class B, class S>
void cached_attention(const B& b, index head_dim, matrix_view<const S> Q, const key_value_cache<S>& cache,
                      matrix_view<S> O) {
    constexpr index together = 4;  // queries of one token that share what is read of keys and values
    const index kv_heads = cache.width() / head_dim, group = Q.cols / head_dim / kv_heads;
    const index parts = kv_heads * ((group + together - 1) / together), tasks = Q.rows * parts;
    constexpr double serial_work = 5e5;  // multiply-adds that are not worth a second thread
    const bool few = 2.0 * static_cast<double>(Q.size() * cache.length()) < serial_work;
    subbit::vectorized_for(b, tasks, few ? tasks : 1, [&](index begin, index end) {
        struct probabilities;
        S* const p = subbit::thread_scratch<probabilities>().template reserve<S>(together * cache.capacity());
        for (index task = begin; task < end; ++task) {
            const index token = task / parts, part = task % parts, head = part % kv_heads;
            const index first = part / kv_heads * together, count = std::min(together, group - first);
            const index visible = cache.length() - Q.rows + token + 1, column = (head * group + first) * head_dim;
            const matrix_view<const S> q(&Q(token, column), count, head_dim);
            const matrix_view<S> P(p, count, cache.capacity()), o(&O(token, column), count, head_dim);
            if (count == 4) detail::attend<4>(q, head, cache, visible, P, o);
            if (count == 3) detail::attend<3>(q, head, cache, visible, P, o);
            if (count == 2) detail::attend<2>(q, head, cache, visible, P, o);
            if (count == 1) detail::attend<1>(q, head, cache, visible, P, o);
        }
    });
}

}  // namespace llama
