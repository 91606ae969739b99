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
///
/// With a sliding window of `span` tokens the cache is a ring of tiles, which holds no more than a piece of the text
/// and what its first token sees. Tokens are found by their position, and a tile begins at a multiple of its size, so
/// that nothing computed depends on where the ring stands.
template <class S>
class key_value_cache {
  public:
    /// Keys of a tile.
    static constexpr index tile = 2 * subbit::lanes<S>::count;
    /// Tokens of a prompt at once: enough for fast products, and the activations stay small. With a span no more may be
    /// appended at once.
    static constexpr index most_piece = 256;

    /// Room for `capacity` tokens of kv_heads * head_dim = `width` numbers, of which a token sees the last `span` (0:
    /// all of them).
    key_value_cache(index capacity, index width, index span = 0)
        : capacity_(capacity),
          span_(span),
          tiles_(tiles_for(capacity, span)),
          keys_(tiles_, width * tile),
          values_(tiles_ * tile, width) {}

    /// Bytes that such a cache takes.
    static index bytes(index capacity, index width, index span = 0) {
        return 2 * tiles_for(capacity, span) * tile * width * static_cast<index>(sizeof(S));
    }

    index length() const { return length_; }
    index width() const { return values_.cols(); }
    index span() const { return span_; }
    /// The most tokens ever.
    index capacity() const { return capacity_; }
    /// Tokens that are held at a time, in whole tiles.
    index held() const { return values_.rows(); }

    /// (width, tile): the keys of the tokens from position tile * t on, zero beyond the newest.
    matrix_view<const S> key_tile(index t) const {
        return {keys_.data() + (t < tiles_ ? t : t % tiles_) * keys_.cols(), width(), tile};
    }
    /// (up to to - from, width): the values of the tokens from position `from` on, as far as they lie together.
    matrix_view<const S> values(index from, index to) const {
        const index row = row_of(from);
        return const_view(values_).middle_rows(row, std::min(to - from, held() - row));
    }

    /// shape_error where `tokens` more do not fit.
    void require_room(index tokens) const {
        if (length_ + tokens > capacity_)
            throw subbit::shape_error("cache of " + std::to_string(capacity_) +
                                      " tokens: " + std::to_string(length_ + tokens) + " do not fit");
        if (span_ != 0 && tokens > most_piece)
            throw subbit::shape_error("cache of a sliding window: " + std::to_string(tokens) +
                                      " tokens at once, expected at most " + std::to_string(most_piece));
    }

    /// The keys and values (tokens, width) of the next tokens; shape_error where there is no room.
    void append(matrix_view<const S> K, matrix_view<const S> V) {
        subbit::require_shape("cache: keys", K.rows, K.cols, V.rows, width());
        require_room(K.rows);
        for (index i = 0; i < K.rows; ++i, ++length_) {
            const index row = row_of(length_), at = row % tile;
            S* const keys = &keys_(row / tile, 0);
            if (at == 0) std::fill_n(keys, keys_.cols(), S(0));
            for (index c = 0; c < K.cols; ++c)
                keys[c * tile + at] = K(i, c);
            std::copy_n(V.row(i), V.cols, &values_(row, 0));
        }
    }

  private:
    /// A piece and the span before it begin anywhere in a tile: hence one more.
    static index tiles_for(index capacity, index span) {
        const index all = (capacity + tile - 1) / tile;
        return span == 0 ? all : std::min(all, (span + most_piece + tile - 1) / tile + 1);
    }
    index row_of(index position) const { return position < held() ? position : position % held(); }

    index capacity_, span_, tiles_;
    matrix<S> keys_;    // (tiles, width * tile)
    matrix<S> values_;  // (tiles * tile, width)
    index length_ = 0;
};

namespace detail {

/// P(h, 0..tile) = scale q_h . k_t for the H queries q (H, head_dim) of one key head and the keys of one tile, K
/// (head_dim, tile).
template <index H, index Register, class S>
[[gnu::always_inline]] inline void scores_of_queries(matrix_view<const S> q, matrix_view<const S> K, S scale,
                                                     matrix_view<S> P) {
    using pack = subbit::lanes<S, Register>;
    pack low[H] = {}, high[H] = {};
    for (index d = 0; d < K.rows; ++d) {
        pack k0, k1;
        k0.load(K.row(d), pack::count);
        k1.load(K.row(d) + pack::count, pack::count);
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
/// on from the sums in O, as if all values were one matrix.
template <index H, index N, index Register, class S>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const S> V, index c, index tail,
                                                   bool more, matrix_view<S> O) {
    using pack = subbit::lanes<S, Register>;
    pack sum[H][N] = {};
    if (more)
        for (index h = 0; h < H; ++h)
            for (index n = 0; n < N; ++n)
                sum[h][n].load(O.row(h) + c + n * pack::count, n + 1 < N ? pack::count : tail);
    for (index t = 0; t < V.rows; ++t)
        for (index n = 0; n < N; ++n) {
            pack v;
            v.load(V.row(t) + c + n * pack::count, n + 1 < N ? pack::count : tail);
            for (index h = 0; h < H; ++h)
                sum[h][n].add_product(P(h, t), v);
        }
    for (index h = 0; h < H; ++h)
        for (index n = 0; n < N; ++n)
            sum[h][n].store(O.row(h) + c + n * pack::count, n + 1 < N ? pack::count : tail);
}

/// All columns of O (H, head_dim).
template <index H, index Register, class S>
[[gnu::always_inline]] inline void weighted_values(matrix_view<const S> P, matrix_view<const S> V, bool more,
                                                   matrix_view<S> O) {
    constexpr index count = subbit::lanes<S, Register>::count;
    index c = 0;
    for (; c + 2 * count <= V.cols; c += 2 * count)
        weighted_values<H, 2, Register>(P, V, c, count, more, O);
    for (; c < V.cols; c += count)
        weighted_values<H, 1, Register>(P, V, c, std::min(count, V.cols - c), more, O);
}

/// O (H, head_dim) = attention of H queries q of key head `head` at `position`; P (H, cache.held()) is scratch, whose
/// first column is the first key of a tile.
template <index H, index Register, class S>
[[gnu::always_inline]] inline void attend(matrix_view<const S> q, S scale, index head, const key_value_cache<S>& cache,
                                          index position, matrix_view<S> P, matrix_view<S> O) {
    constexpr index tile = key_value_cache<S>::tile;
    const index head_dim = q.cols, begin = first_seen(position, cache.span()), end = position + 1;
    const index first_tile = begin / tile, origin = first_tile * tile;
    for (index t = first_tile; t * tile < end; ++t)
        scores_of_queries<H, Register>(q, cache.key_tile(t).middle_rows(head * head_dim, head_dim), scale,
                                       P.middle_cols(t * tile - origin, tile));
    for (index h = 0; h < H; ++h)
        softmax_rows(position - begin, index{0}, P.block(h, begin - origin, 1, end - begin));
    for (index from = begin; from < end;) {
        const auto V = cache.values(from, end).middle_cols(head * head_dim, head_dim);
        weighted_values<H, Register>(matrix_view<const S>(P.middle_cols(from - origin, V.rows)), V, from != begin, O);
        from += V.rows;
    }
}

}  // namespace detail

/// O = attention of the newest tokens' queries Q (tokens, heads * head_dim) to those before them in `cache`, in which
/// their keys and values are the last; scores are multiplied by `scale`. Sums are accumulated in S, those over tokens
/// in their order.
template <class B, class S>
void cached_attention(const B& b, index head_dim, double scale, matrix_view<const S> Q, const key_value_cache<S>& cache,
                      matrix_view<S> O) {
    constexpr index together = 4;  // queries of one token that share what is read of keys and values
    const index kv_heads = cache.width() / head_dim, group = Q.cols / head_dim / kv_heads;
    const index parts = kv_heads * ((group + together - 1) / together), tasks = Q.rows * parts;
    constexpr double serial_work = 5e5;  // multiply-adds that are not worth a second thread
    const index seen = cache.span() == 0 ? cache.length() : std::min(cache.length(), cache.span());
    const bool few = 2.0 * static_cast<double>(Q.size() * seen) < serial_work;
    b.parallel_for(tasks, few ? tasks : 1, [&](index begin, index end) {
        struct probabilities;
        S* const p = subbit::thread_scratch<probabilities>().template reserve<S>(together * cache.held());
        subbit::vectorized(b, [&](auto registers) {
            constexpr index R = decltype(registers)::value;
            for (index task = begin; task < end; ++task) {
                const index token = task / parts, part = task % parts, head = part % kv_heads;
                const index first = part / kv_heads * together, count = std::min(together, group - first);
                const index position = cache.length() - Q.rows + token, column = (head * group + first) * head_dim;
                const matrix_view<const S> q(&Q(token, column), count, head_dim);
                const matrix_view<S> P(p, count, cache.held()), o(&O(token, column), count, head_dim);
                if (count == 4) detail::attend<4, R>(q, static_cast<S>(scale), head, cache, position, P, o);
                if (count == 3) detail::attend<3, R>(q, static_cast<S>(scale), head, cache, position, P, o);
                if (count == 2) detail::attend<2, R>(q, static_cast<S>(scale), head, cache, position, P, o);
                if (count == 1) detail::attend<1, R>(q, static_cast<S>(scale), head, cache, position, P, o);
            }
        });
    });
}

}  // namespace llama
