// Attention of the newest tokens to the cache, as two kernels: parts of it by blocks that share the keys out, and what
// puts these together.
#pragma once

#include "gpu/decode.hpp"

#include <subbit/backend/gpu.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace llama::gpu_decode {

/// What each of up to `most` parts of a softmax weighs, whose numbers are relative to exp(top): exp(top - highest). A
/// part without a key has the top -inf and zeros, and weighs nothing.
template <int most>
struct part_weights {
    float highest = -std::numeric_limits<float>::infinity(), of[most];

    /// Tops lie `stride` numbers apart.
    SUBBIT_KERNEL part_weights(const float* tops, int count, int stride) {
        SUBBIT_UNROLL
        for (int i = 0; i < most; ++i)  // all loads under way at once
            of[i] = i < count ? tops[i * stride] : -std::numeric_limits<float>::infinity();
        SUBBIT_UNROLL
        for (int i = 0; i < most; ++i)
            highest = of[i] > highest ? of[i] : highest;
        const float from = highest > -std::numeric_limits<float>::infinity() ? highest : 0.0f;
        SUBBIT_UNROLL
        for (int i = 0; i < most; ++i)
            of[i] = std::exp(of[i] - from);
    }
    /// The parts' values together, which lie `stride` numbers apart.
    SUBBIT_KERNEL float sum(const float* values, int count, int stride) const {
        float total = 0;
        SUBBIT_UNROLL
        for (int i = 0; i < most; ++i)
            total += i < count ? of[i] * values[i * stride] : 0.0f;
        return total;
    }
};

inline constexpr int most_head_dim = 256;
static_assert(most_head_dim <= threads, "a thread of a block finishes a number of a head");
inline constexpr int token_shares = 8;  // of the keys, where there is one row: each has blocks of its own

/// What a share of the keys gives one query: weights relative to exp(top), their total, and the weighted sum of values.
/// A row of `stride()` numbers for each (row, head, share): top, total, two unused, the sum.
struct attention_parts {
    static constexpr int sum = 4;  ///< where the sum begins: fours of it are aligned

    float* numbers;
    int shares, head_dim;

    SUBBIT_KERNEL static constexpr int stride(int head_dim) { return sum + (head_dim + 3) / 4 * 4; }
    SUBBIT_KERNEL float* at(int query, int share) const {
        return numbers + index{query * shares + share} * stride(head_dim);
    }
};

/// The numbers of a head that a lane has: every 32nd from lane() on, `numbers` of them; zeros beyond head_dim.
template <int numbers, class Block>
SUBBIT_KERNEL void read_numbers(const Block& block, const float* head, int head_dim, float (&to)[numbers]) {
    SUBBIT_UNROLL
    for (int i = 0; i < numbers; ++i) {
        const int c = block.lane() + i * warp_size;
        to[i] = c < head_dim ? head[c] : 0.0f;
    }
}

/// Some neighbouring keys of a head, and their values, that a warp has on their way at a time.
template <int numbers>
struct loaded_keys {
    static constexpr int count = 4;
    float key[count][numbers], value[count][numbers];

    /// Those from `first` on, zeros from `end` on.
    template <class Block>
    SUBBIT_KERNEL loaded_keys(const Block& block, const cache_view& cache, int offset, int head_dim, int first,
                              int end) {
        SUBBIT_UNROLL
        for (int j = 0; j < count; ++j) {
            const index from = cache.at(first + j) + offset;
            const int there = first + j < end ? head_dim : 0;
            read_numbers(block, cache.keys + from, there, key[j]);
            read_numbers(block, cache.values + from, there, value[j]);
        }
    }
};

/// A warp's softmax over the keys that it has seen: the weights relative to exp(top).
template <int numbers>
struct seen_keys {
    float top = -std::numeric_limits<float>::infinity(), total = 0, sum[numbers] = {};

    /// The next `count` keys.
    template <class Block>
    SUBBIT_KERNEL void add(Block& block, const float (&q)[numbers], const loaded_keys<numbers>& next, int count) {
        constexpr int most = loaded_keys<numbers>::count;
        float score[most], higher = top;
        SUBBIT_UNROLL
        for (int j = 0; j < most; ++j) {
            float product = 0;
            SUBBIT_UNROLL
            for (int i = 0; i < numbers; ++i)
                product += q[i] * next.key[j][i];
            score[j] = block.warp_sum(product);
            if (j >= count) score[j] = -std::numeric_limits<float>::infinity();
            higher = score[j] > higher ? score[j] : higher;
        }
        const float shrink = std::exp(top - higher);
        total *= shrink;
        top = higher;
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            sum[i] *= shrink;
        SUBBIT_UNROLL
        for (int j = 0; j < most; ++j) {
            const float weight = std::exp(score[j] - higher);
            total += weight;
            SUBBIT_UNROLL
            for (int i = 0; i < numbers; ++i)
                sum[i] += weight * next.value[j][i];
        }
    }
};

/// The norm of each head of the queries and the keys, before they are rotated; null weights: there is none.
struct head_norms {
    const float* queries = nullptr;
    const float* keys = nullptr;
    float eps = 0, offset = 0;
};

/// Norms each head of X (tokens, heads * head_dim), whose rows lie side by side, in place.
template <class Backend>
void norm_heads(const Backend& b, matrix_view<float> X, index head_dim, const float* weight, const head_norms& norms) {
    const matrix_view<float> heads(X.data, X.size() / head_dim, head_dim);
    b.launch({heads.rows, warp_size}, norm_rows{heads, weight, norms.eps, norms.offset, heads});
}

/// How a lane turns its numbers of a head: x_c cosine_c + x_partner sine_c, of x or, where its weights are there, of
/// x / rms(x) o (offset + weight).
template <int numbers>
struct lane_rotation {
    float cosine[numbers], sine[numbers];

    template <class Block>
    SUBBIT_KERNEL lane_rotation(const Block& block, const rotary_view& table, int position, int head_dim) {
        const int half = head_dim / 2;
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i) {
            const int c = block.lane() + i * warp_size, j = c < half ? c : c - half;
            cosine[i] = c < head_dim ? table.cosine(position, j) : 0.0f;
            sine[i] = c < head_dim ? table.sine(position, j) : 0.0f;
            if (c < half) sine[i] = -sine[i];
        }
    }
    template <class Block>
    SUBBIT_KERNEL void read(Block& block, const float* head, int head_dim, const float* weight, const head_norms& norms,
                            float (&to)[numbers]) const {
        const int half = head_dim / 2;
        float squares = 0;
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i) {
            const int c = block.lane() + i * warp_size, partner = c < half ? c + half : c - half;
            const float own = c < head_dim ? head[c] : 0.0f, other = c < head_dim ? head[partner] : 0.0f;
            squares += own * own;
            to[i] = own * factor(weight, norms, c, head_dim) * cosine[i] +
                    other * factor(weight, norms, partner, head_dim) * sine[i];
        }
        if (weight == nullptr) return;
        const float inverse = inverse_root(block.warp_sum(squares) / static_cast<float>(head_dim), norms.eps);
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            to[i] *= inverse;
    }

  private:
    SUBBIT_KERNEL static float factor(const float* weight, const head_norms& norms, int c, int head_dim) {
        return weight != nullptr && c < head_dim ? norms.offset + weight[c] : 1.0f;
    }
};

/// A token that is not in the cache yet: its key and value, (kv_heads * head_dim) each, neither normed nor rotated.
struct fresh_token {
    const float* key = nullptr;
    const float* value = nullptr;
    rotary_view table;
    head_norms norms = {};
};

/// Which keys a block of attention has, for which query: those of a share of what the query sees.
struct share_of_keys {
    int query, row, head, visible, first, last;

    SUBBIT_KERNEL share_of_keys(int block, const attention_parts& parts, int heads, int position, int span)
        : query(block / parts.shares), row(query / heads), head(query % heads), visible(position + row + 1) {
        const int begin = static_cast<int>(first_seen(visible - 1, span));
        const int each = (visible - begin + parts.shares - 1) / parts.shares;
        first = begin + block % parts.shares * each;
        last = first + each < visible ? first + each : visible;
    }
};

/// The parts of the attention of query h of row t to the cache up to its own position: a block for each (t, h, share),
/// since the heads of one token alone do not fill a GPU. The warps of a block take keys in turns, and meet at the end.
/// `numbers` of a head a lane: heads of up to 32 times as many.
///
/// One row may be `fresh`: neither its query nor its key is normed and rotated yet, and its key and value are not in
/// the cache. The warp whose turn the newest key is rotates it itself; of the blocks that share a key head, one leaves
/// it in the cache. Then the kernel before this one does not write the cache, and the keys of earlier tokens are read
/// at once.
template <int numbers, bool fresh>
struct attend_to_cache {
    static constexpr bool overlaps = true;
    static constexpr int most_threads = threads, at_once = loaded_keys<numbers>::count;

    matrix_view<const float> Q;
    fresh_token token;  // only where it is fresh
    int heads, group;   // of queries, and how many to a key head
    const std::int32_t* position;
    cache_view cache;
    float scale;
    attention_parts parts;

    static std::size_t shared_bytes(index head_dim) {
        return static_cast<std::size_t>(warps * (head_dim + 2)) * sizeof(float) + 32;
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if constexpr (!fresh) wait_for_predecessor(block);
        const int head_dim = parts.head_dim;
        const share_of_keys share(static_cast<int>(block.index()), parts, heads, position[0], cache.span);
        const int newest = share.visible - 1, offset = share.head / group * head_dim;
        const int cached = fresh && share.last > newest ? newest : share.last;
        int key = share.first + block.warp() * at_once;
        loaded_keys<numbers> next(block, cache, offset, head_dim, key, cached);
        float q[numbers], new_key[numbers] = {}, new_value[numbers] = {};
        const float* const query = Q.row(share.row) + share.head * head_dim;
        if constexpr (fresh) {
            const lane_rotation<numbers> rotation(block, token.table, newest, head_dim);
            const bool turn = cached < share.last && (newest - share.first) / at_once % warps == block.warp();
            wait_for_predecessor(block);
            if (turn) {
                rotation.read(block, token.key + offset, head_dim, token.norms.keys, token.norms, new_key);
                read_numbers(block, token.value + offset, head_dim, new_value);
            }
            rotation.read(block, query, head_dim, token.norms.queries, token.norms, q);
            if (turn && share.head % group == 0) keep(block, cache.at(newest) + offset, new_key, new_value);
        } else {
            read_numbers(block, query, head_dim, q);
        }
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            q[i] *= scale;
        seen_keys<numbers> seen;
        while (key < share.last) {
            if (fresh && key + at_once > newest) put(next, newest - key, new_key, new_value);
            seen.add(block, q, next, share.last - key);
            key += warps * at_once;
            if (key < share.last) next = loaded_keys<numbers>(block, cache, offset, head_dim, key, cached);
        }
        leave(block, seen, parts.numbers + block.index() * attention_parts::stride(head_dim));
    }

  private:
    template <class Block>
    SUBBIT_KERNEL void keep(const Block& block, index at, const float (&key)[numbers],
                            const float (&value)[numbers]) const {
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            if (const int c = block.lane() + i * warp_size; c < parts.head_dim) {
                cache.keys[at + c] = key[i];
                cache.values[at + c] = value[i];
            }
    }
    /// A key and its value in the place of the j-th that were loaded.
    SUBBIT_KERNEL static void put(loaded_keys<numbers>& loaded, int j, const float (&key)[numbers],
                                  const float (&value)[numbers]) {
        SUBBIT_UNROLL
        for (int k = 0; k < at_once; ++k)
            SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i) {
            if (k == j) loaded.key[k][i] = key[i];
            if (k == j) loaded.value[k][i] = value[i];
        }
    }
    /// What all warps have seen, as one part.
    template <class Block>
    SUBBIT_KERNEL void leave(Block& block, const seen_keys<numbers>& seen, float* part) const {
        const int head_dim = parts.head_dim;
        float* const tops = block.template shared<float>(warps);
        float* const totals = block.template shared<float>(warps);
        float* const sums = block.template shared<float>(index{warps} * head_dim);
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            if (const int c = block.lane() + i * warp_size; c < head_dim)
                sums[block.warp() * head_dim + c] = seen.sum[i];
        if (block.lane() == 0) {
            tops[block.warp()] = seen.top;
            totals[block.warp()] = seen.total;
        }
        block.sync();
        const part_weights<warps> weights(tops, warps, 1);
        if (block.thread() == 0) {
            part[0] = weights.highest;
            part[1] = weights.sum(totals, warps, 1);
        }
        if (const int c = block.thread(); c < head_dim)
            part[attention_parts::sum + c] = weights.sum(sums + c, warps, head_dim);
    }
};

/// O(t, head h): the shares of each query together; a block for each query.
struct merge_attention {
    static constexpr bool overlaps = true;
    static constexpr int most_threads = threads;

    attention_parts parts;
    int heads;
    matrix_view<float> O;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const int query = static_cast<int>(block.index()), t = query / heads, h = query % heads;
        const float* const first = parts.at(query, 0);
        const int stride = attention_parts::stride(parts.head_dim);
        const part_weights<token_shares> weights(first, parts.shares, stride);
        const float total = weights.sum(first + 1, parts.shares, stride);
        if (const int c = block.thread(); c < parts.head_dim)
            O(t, h * parts.head_dim + c) = weights.sum(first + attention_parts::sum + c, parts.shares, stride) / total;
    }
};

/// The numbers that attention keeps on the way, for up to so many rows.
inline index attention_numbers(index rows, index heads, index head_dim) {
    return std::max<index>(rows, token_shares) * heads * attention_parts::stride(static_cast<int>(head_dim));
}

/// The parts of the attention of Q's rows (t, heads * head_dim), the first of which is token position[0], to the cache;
/// scores are multiplied by `scale`. With `token` Q is one row, and the kernel keeps the token. `numbers` has room for
/// attention_numbers().
template <class Backend>
attention_parts attend(const Backend& b, matrix_view<const float> Q, int heads, double scale,
                       const std::int32_t* position, const cache_view& cache, float* numbers,
                       const fresh_token* token = nullptr) {
    const index head_dim = Q.cols / heads, queries = Q.rows * heads;
    const attention_parts parts{numbers, Q.rows == 1 ? token_shares : 1, static_cast<int>(head_dim)};
    const auto launch = [&]<int count, bool fresh>(std::integral_constant<int, count>, std::bool_constant<fresh>) {
        using kernel = attend_to_cache<count, fresh>;
        b.launch({queries * parts.shares, threads, kernel::shared_bytes(head_dim)},
                 kernel{Q, fresh ? *token : fresh_token{}, heads, static_cast<int>(Q.cols / cache.width), position,
                        cache, static_cast<float>(scale), parts});
    };
    const auto launch_either = [&](auto count) {
        token != nullptr ? launch(count, std::true_type()) : launch(count, std::false_type());
    };
    if (head_dim <= 2 * warp_size)
        launch_either(std::integral_constant<int, 2>());
    else if (head_dim <= 4 * warp_size)
        launch_either(std::integral_constant<int, 4>());
    else
        launch_either(std::integral_constant<int, most_head_dim / warp_size>());
    return parts;
}

/// O = what the parts of each of its rows and heads give together.
template <class Backend>
void merge(const Backend& b, const attention_parts& parts, matrix_view<float> O) {
    const auto heads = static_cast<int>(O.cols / parts.head_dim);
    b.launch({O.rows * heads, threads}, merge_attention{parts, heads, O});
}

}  // namespace llama::gpu_decode
