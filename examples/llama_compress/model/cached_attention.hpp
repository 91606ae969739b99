// Attention of the newest token to all tokens before it: what generation spends its time on besides weights.
#pragma once

#include "attention.hpp"

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>

#include <algorithm>
#include <cmath>
#include <string>

namespace llama {

/// Keys and values of the tokens that a block has seen. Keys lie transposed: a register then holds one entry of many
/// neighbouring keys, and no product with a query has to be summed across a register.
template <class S>
class key_value_cache {
  public:
    /// Room for `capacity` tokens of kv_heads * head_dim = `width` numbers.
    key_value_cache(index capacity, index width)
        : keys_(width, (capacity + tile - 1) / tile * tile), values_(capacity, width) {}

    index length() const { return length_; }
    /// Tokens that there is room for, rounded up to the tile.
    index capacity() const { return keys_.cols(); }
    /// (width, length), and readable up to the next multiple of `tile` columns.
    matrix_view<const S> keys() const { return const_view(keys_).middle_cols(0, length_); }
    /// (length, width)
    matrix_view<const S> values() const { return const_view(values_).middle_rows(0, length_); }

    /// The keys and values (tokens, width) of the next tokens; shape_error where there is no room.
    void append(matrix_view<const S> K, matrix_view<const S> V) {
        subbit::require_shape("cache: keys", K.rows, K.cols, V.rows, keys_.rows());
        if (length_ + K.rows > values_.rows())
            throw subbit::shape_error("cache of " + std::to_string(values_.rows()) +
                                      " tokens: " + std::to_string(length_ + K.rows) + " do not fit");
        for (index t = 0; t < K.rows; ++t, ++length_) {
            if (length_ % tile == 0) keys_.middleCols(length_, tile).setZero();
            for (index c = 0; c < K.cols; ++c)
                keys_(c, length_) = K(t, c);
            std::copy_n(V.row(t), V.cols, &values_(length_, 0));
        }
    }

    /// Keys that are read at once.
    static constexpr index tile = 2 * subbit::lanes<S>::count;

  private:
    matrix<S> keys_, values_;
    index length_ = 0;
};

namespace detail {

/// P(h,t) = scale q_h . k_t for the H queries q (H, head_dim) of one key head and K (head_dim, keys).
template <index H, class S>
[[gnu::always_inline]] inline void scores_of_queries(matrix_view<const S> q, matrix_view<const S> K, S scale,
                                                     matrix_view<S> P) {
    using pack = subbit::lanes<S>;
    for (index t = 0; t < K.cols; t += 2 * pack::count) {
        pack low[H] = {}, high[H] = {};
        for (index d = 0; d < K.rows; ++d) {
            pack k0, k1;
            k0.load(K.row(d) + t, pack::count);
            k1.load(K.row(d) + t + pack::count, pack::count);
            for (index h = 0; h < H; ++h) {
                low[h].v += q(h, d) * k0.v;
                high[h].v += q(h, d) * k1.v;
            }
        }
        for (index h = 0; h < H; ++h) {
            low[h].v *= scale;
            high[h].v *= scale;
            low[h].store(P.row(h) + t, pack::count);
            high[h].store(P.row(h) + t + pack::count, pack::count);
        }
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

/// o = softmax(scale q K) V for H queries of one key head; P (H, keys rounded up to the cache's tile) is scratch.
template <index H, class S>
[[gnu::always_inline]] inline void attend(matrix_view<const S> q, matrix_view<const S> K, matrix_view<const S> V,
                                          matrix_view<S> P, matrix_view<S> O) {
    scores_of_queries<H>(q, K, S(1) / std::sqrt(static_cast<S>(q.cols)), P);
    for (index h = 0; h < H; ++h)
        softmax_rows(K.cols - 1, P.block(h, 0, 1, K.cols));
    weighted_values<H>(matrix_view<const S>(P), V, O);
}

}  // namespace detail

/// O = attention of one token's queries Q (1, heads * head_dim) to all of `cache`, its own key included. Sums are
/// accumulated in S, those over tokens in their order.
template <class B, class S>
void cached_attention(const B& b, index head_dim, matrix_view<const S> Q, const key_value_cache<S>& cache,
                      matrix_view<S> O) {
    constexpr index together = 4;  // queries that share what is read of keys and values
    const index kv_heads = cache.keys().rows / head_dim, group = Q.cols / head_dim / kv_heads;
    const index parts = (group + together - 1) / together;
    constexpr double serial_work = 5e5;  // multiply-adds that are not worth a second thread
    const bool few = 2.0 * static_cast<double>(Q.cols * cache.length()) < serial_work;
    subbit::vectorized_for(b, kv_heads * parts, few ? kv_heads * parts : 1, [&](index begin, index end) {
        struct probabilities;
        S* const p = subbit::thread_scratch<probabilities>().template reserve<S>(together * cache.capacity());
        for (index task = begin; task < end; ++task) {
            const index kv_head = task / parts, first = kv_head * group + task % parts * together;
            const index count = std::min(together, (kv_head + 1) * group - first);
            const matrix_view<const S> q(Q.data + first * head_dim, count, head_dim);
            const auto K = cache.keys().middle_rows(kv_head * head_dim, head_dim);
            const auto V = cache.values().middle_cols(kv_head * head_dim, head_dim);
            const matrix_view<S> P(p, count, cache.capacity()), o(O.data + first * head_dim, count, head_dim);
            if (count == 4) detail::attend<4>(q, K, V, P, o);
            if (count == 3) detail::attend<3>(q, K, V, P, o);
            if (count == 2) detail::attend<2>(q, K, V, P, o);
            if (count == 1) detail::attend<1>(q, K, V, P, o);
        }
    });
}

}  // namespace llama
