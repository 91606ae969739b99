// The keys and values of the tokens so far, as attention to them reads them.
#pragma once

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/half.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>

namespace llama {

using subbit::index;
using subbit::matrix;
using subbit::matrix_view;

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

}  // namespace llama
