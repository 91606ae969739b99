// Attention of the newest tokens to all tokens before them: what generation spends its time on besides weights.
#pragma once

#include "model/attention.hpp"

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/core/half.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace llama {

/// What a cache keeps keys and values as: numbers of the scalar type, or rounded to bfloat16, which takes half of a
/// float's memory and of the time to read it.
enum class cache_format { scalar, bf16 };

/// A number of a cache in memory: of the scalar type S itself, or the bits of a bfloat16.
template <class S, class Stored>
struct cache_number {
    static constexpr bool is_rounded = !std::is_same_v<S, Stored>;
    static_assert(!is_rounded || std::is_same_v<Stored, std::uint16_t>);

    static Stored store(S x) {
        if constexpr (is_rounded)
            return subbit::to_bf16(static_cast<float>(x));
        else
            return x;
    }
    /// The first min(n, count) of `numbers`.
    template <index Register>
    [[gnu::always_inline]] static void load(subbit::lanes<S, Register>& numbers, const Stored* from, index n) {
        if constexpr (is_rounded)
            numbers.load_converted(reinterpret_cast<const subbit::bf16*>(from), n);
        else
            numbers.load(from, n);
    }
};

/// Keys and values of neighbouring tokens, a ring of tiles for each head. What belongs to a head is one piece of
/// memory, which the processor reads ahead by itself; rows of all heads, at distances of a power of two, would compete
/// for a few lines of the caches. Keys are transposed within a tile: a register then holds one entry of many keys, and
/// no product with a query has to be summed across a register.
template <class S, class Stored>
class cache_tiles {
  public:
    using number = cache_number<S, Stored>;
    /// Tokens of a tile.
    static constexpr index tile = 2 * subbit::lanes<S>::count;

    cache_tiles(index tiles, index kv_heads, index head_dim)
        : tiles_(tiles),
          head_dim_(head_dim),
          keys_(kv_heads, tiles * head_dim * tile),
          values_(kv_heads, tiles * head_dim * tile) {}

    /// (head_dim, tile): a head's keys of the tokens from position tile * t on, zero beyond the newest.
    matrix_view<const Stored> keys(index t, index head) const { return {&keys_(head, offset(t)), head_dim_, tile}; }
    /// (tile, head_dim): its values of the same tokens; whatever they were beyond the newest.
    matrix_view<const Stored> values(index t, index head) const { return {&values_(head, offset(t)), tile, head_dim_}; }

    /// A head's key and value of the token at `position`; the tile's other keys become zero with its first.
    void write(index head, index position, const S* key, const S* value) {
        const index begin = offset(position / tile), at = position % tile;
        Stored* const keys = &keys_(head, begin);
        if (at == 0) std::fill_n(keys, head_dim_ * tile, Stored(0));
        for (index c = 0; c < head_dim_; ++c)
            keys[c * tile + at] = number::store(key[c]);
        std::transform(value, value + head_dim_, &values_(head, begin + at * head_dim_), number::store);
    }

  private:
    /// Where tile t of the text begins in each head's row.
    index offset(index t) const { return (t < tiles_ ? t : t % tiles_) * head_dim_ * tile; }

    index tiles_, head_dim_;
    matrix<Stored> keys_;    // (kv_heads, tiles * head_dim * tile), of each tile (head_dim, tile)
    matrix<Stored> values_;  // (kv_heads, tiles * tile * head_dim), of each tile (tile, head_dim)
};

/// Keys and values of the tokens that a block has seen.
///
/// With a sliding window of `span` tokens the cache holds no more tiles than a piece of the text and what its first
/// token sees. Tokens are found by their position, and a tile begins at a multiple of its size, so that nothing
/// computed depends on where the ring stands.
template <class S>
class key_value_cache {
  public:
    static constexpr index tile = cache_tiles<S, S>::tile;
    /// Tokens of a prompt at once: enough for fast products, and the activations stay small. With a span no more may be
    /// appended at once.
    static constexpr index most_piece = 256;

    /// Room for `capacity` tokens, of which a token sees the last `span` (0: all of them).
    key_value_cache(index capacity, index kv_heads, index head_dim, index span = 0,
                    cache_format format = cache_format::scalar)
        : capacity_(capacity),
          kv_heads_(kv_heads),
          head_dim_(head_dim),
          span_(span),
          held_(tiles_for(capacity, span) * tile),
          tiles_(make_tiles(format)) {}

    /// Bytes that a cache of scalars takes whose tokens have kv_heads * head_dim = `width` numbers.
    static index bytes(index capacity, index width, index span = 0) {
        return 2 * tiles_for(capacity, span) * tile * width * static_cast<index>(sizeof(S));
    }

    index length() const { return length_; }
    index kv_heads() const { return kv_heads_; }
    index width() const { return kv_heads_ * head_dim_; }
    index head_dim() const { return head_dim_; }
    index span() const { return span_; }
    /// The most tokens ever.
    index capacity() const { return capacity_; }
    /// Tokens that are held at a time, in whole tiles.
    index held() const { return held_; }

    /// f(tiles), of either kind.
    template <class F>
    decltype(auto) visit_tiles(F&& f) const {
        return std::visit(f, tiles_);
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

    /// The keys and values (tokens, width) of the next tokens; shape_error where there is no room. Every entry of a
    /// token's key goes to a line of its own, most of which have to come from memory: threads share them.
    template <class B>
    void append(const B& b, matrix_view<const S> K, matrix_view<const S> V) {
        subbit::require_shape("cache: keys", K.rows, K.cols, V.rows, width());
        require_room(K.rows);
        constexpr index serial_numbers = 2048;  // that are not worth a second thread
        std::visit(
            [&](auto& tiles) {
                b.parallel_for(kv_heads_, K.size() < serial_numbers ? kv_heads_ : 1, [&](index first, index last) {
                    for (index head = first; head < last; ++head)
                        for (index i = 0; i < K.rows; ++i)
                            tiles.write(head, length_ + i, K.row(i) + head * head_dim_, V.row(i) + head * head_dim_);
                });
            },
            tiles_);
        length_ += K.rows;
    }

  private:
    using any_tiles = std::variant<cache_tiles<S, S>, cache_tiles<S, std::uint16_t>>;

    /// A piece and the span before it begin anywhere in a tile: hence one more.
    static index tiles_for(index capacity, index span) {
        const index all = (capacity + tile - 1) / tile;
        return span == 0 ? all : std::min(all, (span + most_piece + tile - 1) / tile + 1);
    }
    any_tiles make_tiles(cache_format format) const {
        if (format == cache_format::bf16) return cache_tiles<S, std::uint16_t>(held_ / tile, kv_heads_, head_dim_);
        return cache_tiles<S, S>(held_ / tile, kv_heads_, head_dim_);
    }

    index capacity_, kv_heads_, head_dim_, span_, held_;
    any_tiles tiles_;
    index length_ = 0;
};

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
