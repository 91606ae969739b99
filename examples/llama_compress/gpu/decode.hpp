// What a pass over the newest tokens needs besides the linear layers, as kernels: norm, rotation into the cache,
// attention to the cache, SwiGLU, output head. Where a pass begins is read from the device's memory, so that one
// recorded graph serves every token. Each kernel begins while the one before it ends (gpu::overlaps): a token is some
// hundred short launches.
#pragma once

#include "../model/row_table.hpp"

#include <subbit/backend/gpu.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace llama::gpu_decode {

using subbit::index;
using subbit::matrix_view;
using subbit::gpu::warp_size;

inline constexpr int threads = 256, warps = threads / warp_size;

/// Y(t,:) = X(t,:) / rms(X(t,:)) o weight; a block a row, since there is often one row alone.
struct norm_rows {
    static constexpr bool overlaps = true;

    matrix_view<const float> X;
    const float* weight;
    float eps;
    matrix_view<float> Y;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const float* const x = X.row(block.index());
        float squares = 0;
        for (index c = block.thread(); c < X.cols; c += block.threads())
            squares += x[c] * x[c];
        const float inverse = 1 / std::sqrt(block.sum(squares) / static_cast<float>(X.cols) + eps);
        for (index c = block.thread(); c < X.cols; c += block.threads())
            Y(block.index(), c) = x[c] * inverse * weight[c];
    }
};

/// The cache of a block: keys and values of all tokens, (capacity, kv_heads * head_dim) each.
struct cache_view {
    float* keys;
    float* values;
    index width;
};

/// Q rotated in place; K rotated, and V, to the cache. A thread for each pair (j, j + half) of each head.
struct rotate_and_keep {
    static constexpr bool overlaps = true;

    matrix_view<float> Q;
    matrix_view<const float> K, V;
    matrix_view<const float> cosine, sine;
    index head_dim;
    const std::int32_t* position;  // of the first row
    cache_view cache;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const index half = head_dim / 2, q_pairs = Q.cols / 2, k_pairs = K.cols / 2, pairs = q_pairs + 2 * k_pairs;
        subbit::gpu::for_each_entry(block, Q.rows, pairs, [&](index t, index pair) {
            const index at = position[0] + t;
            const auto rotate = [&](const float* from, float* to) {
                const auto [head, j] = subbit::gpu::place_of(pair, half);
                const index low = head * head_dim + j;
                const float a = from[low], z = from[low + half], c = cosine(at, j), s = sine(at, j);
                to[low] = a * c - z * s;
                to[low + half] = z * c + a * s;
            };
            if (pair < q_pairs) return rotate(Q.row(t), Q.row(t));
            pair -= q_pairs;
            if (pair < k_pairs) return rotate(K.row(t), cache.keys + at * cache.width);
            pair -= k_pairs;
            for (index c = 2 * pair; c < 2 * pair + 2; ++c)
                cache.values[at * cache.width + c] = V(t, c);
        });
    }
};

SUBBIT_KERNEL inline float highest_of(const float* tops, index count, index stride) {
    float highest = tops[0];
    for (index i = 1; i < count; ++i)
        highest = tops[i * stride] > highest ? tops[i * stride] : highest;
    return highest;
}
/// sum_i values_i exp(top_i - highest); a part without a key has the top -inf, and weighs nothing.
SUBBIT_KERNEL inline float merged(const float* tops, const float* values, index count, index top_stride,
                                  index value_stride, float highest) {
    float sum = 0;
    for (index i = 0; i < count; ++i)
        if (const float top = tops[i * top_stride]; top > -std::numeric_limits<float>::infinity())
            sum += values[i * value_stride] * std::exp(top - highest);
    return sum;
}

/// What a share of the keys gives one query: weights relative to exp(top), their total, and the weighted sum of values.
/// A row of `head_dim + 2` numbers for each (row, head, share): top, total, sum.
struct attention_parts {
    float* numbers;
    index shares, head_dim;

    SUBBIT_KERNEL float* at(index query, index share) const {
        return numbers + (query * shares + share) * (head_dim + 2);
    }
};

/// The parts of the attention of query h of row t to the cache up to its own position: a block for each (t, h, share),
/// since the heads of one token alone do not fill a GPU. Every warp takes `at_once` keys at a time, so that their loads
/// are under way together, a lane every 32nd of a head's numbers, and keeps a running maximum; the warps meet at the
/// end. `numbers` of a head a lane: heads of up to 32 times as many.
template <int numbers>
struct attend_to_cache {
    static constexpr bool overlaps = true;
    static constexpr int most_threads = threads, at_once = 4;

    matrix_view<const float> Q;
    index group;  // queries to a key head
    const std::int32_t* position;
    cache_view cache;
    float scale;
    attention_parts parts;

    static std::size_t shared_bytes(index head_dim) {
        return static_cast<std::size_t>(warps * (head_dim + 2)) * sizeof(float) + 32;
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const int head_dim = static_cast<int>(parts.head_dim);
        const index heads = Q.cols / head_dim, query = block.index() / parts.shares;
        const index t = query / heads, h = query % heads, offset = h / group * head_dim;
        const index visible = position[0] + t + 1, share = block.index() % parts.shares;
        const index each = (visible + parts.shares - 1) / parts.shares, first = share * each;
        const index last = first + each < visible ? first + each : visible;
        float* const tops = block.template shared<float>(warps);
        float* const totals = block.template shared<float>(warps);
        float* const sums = block.template shared<float>(warps * head_dim);
        float q[numbers], o[numbers];
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i) {
            const int c = block.lane() + i * warp_size;
            q[i] = c < head_dim ? Q(t, h * head_dim + c) * scale : 0.0f;
            o[i] = 0;
        }
        float top = -std::numeric_limits<float>::infinity(), total = 0;
        for (index key = first + block.warp() * at_once; key < last; key += warps * at_once) {
            float k[at_once][numbers], v[at_once][numbers], score[at_once];
            SUBBIT_UNROLL
            for (int j = 0; j < at_once; ++j) {
                const index from = (key + j) * cache.width + offset + block.lane();
                SUBBIT_UNROLL
                for (int i = 0; i < numbers; ++i) {
                    const bool there = key + j < last && block.lane() + i * warp_size < head_dim;
                    k[j][i] = there ? cache.keys[from + i * warp_size] : 0.0f;
                    v[j][i] = there ? cache.values[from + i * warp_size] : 0.0f;
                }
            }
            float higher = top;
            SUBBIT_UNROLL
            for (int j = 0; j < at_once; ++j) {
                float sum = 0;
                SUBBIT_UNROLL
                for (int i = 0; i < numbers; ++i)
                    sum += q[i] * k[j][i];
                score[j] = block.warp_sum(sum);
                if (key + j >= last) score[j] = -std::numeric_limits<float>::infinity();
                higher = score[j] > higher ? score[j] : higher;
            }
            const float shrink = std::exp(top - higher);
            total *= shrink;
            top = higher;
            SUBBIT_UNROLL
            for (int i = 0; i < numbers; ++i)
                o[i] *= shrink;
            SUBBIT_UNROLL
            for (int j = 0; j < at_once; ++j) {
                const float weight = std::exp(score[j] - higher);
                total += weight;
                SUBBIT_UNROLL
                for (int i = 0; i < numbers; ++i)
                    o[i] += weight * v[j][i];
            }
        }
        SUBBIT_UNROLL
        for (int i = 0; i < numbers; ++i)
            if (const int c = block.lane() + i * warp_size; c < head_dim) sums[block.warp() * head_dim + c] = o[i];
        if (block.lane() == 0) {
            tops[block.warp()] = top;
            totals[block.warp()] = total;
        }
        block.sync();
        float* const part = parts.at(query, share);
        const float highest = highest_of(tops, warps, 1);
        if (block.thread() == 0) {
            part[0] = highest;
            part[1] = merged(tops, totals, warps, 1, 1, highest);
        }
        for (int c = block.thread(); c < head_dim; c += threads)
            part[2 + c] = merged(tops, sums + c, warps, 1, head_dim, highest);
    }
};

/// O(t, head h): the shares of each query together; a block for each query.
struct merge_attention {
    static constexpr bool overlaps = true;
    static constexpr int most_threads = threads;

    attention_parts parts;
    matrix_view<float> O;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const index heads = O.cols / parts.head_dim, t = block.index() / heads, h = block.index() % heads;
        const float* const first = parts.at(block.index(), 0);
        const index stride = parts.head_dim + 2;
        const float highest = highest_of(first, parts.shares, stride);
        const float all = merged(first, first + 1, parts.shares, stride, stride, highest);
        for (index c = block.thread(); c < parts.head_dim; c += threads)
            O(t, h * parts.head_dim + c) = merged(first, first + 2 + c, parts.shares, stride, stride, highest) / all;
    }
};

inline constexpr index most_head_dim = 256;
inline constexpr index token_shares = 8;  // of the keys, where there is one row: each has blocks of its own

/// The numbers that attend() keeps on the way, for up to so many rows.
inline index attention_numbers(index rows, index heads, index head_dim) {
    return std::max(rows, token_shares) * heads * (head_dim + 2);
}

/// O = the attention of Q's rows (t, heads * head_dim), the first of which is token position[0], to the cache;
/// `numbers` has room for attention_numbers().
template <class Backend>
void attend(const Backend& b, matrix_view<const float> Q, index heads, const std::int32_t* position,
            const cache_view& cache, float* numbers, matrix_view<float> O) {
    const index head_dim = Q.cols / heads, queries = Q.rows * heads;
    const attention_parts parts{numbers, Q.rows == 1 ? token_shares : 1, head_dim};
    const auto launch = [&]<int count>(std::integral_constant<int, count>) {
        using kernel = attend_to_cache<count>;
        b.launch({queries * parts.shares, threads, kernel::shared_bytes(head_dim)},
                 kernel{Q, Q.cols / cache.width, position, cache, 1 / std::sqrt(static_cast<float>(head_dim)), parts});
    };
    if (head_dim <= 2 * warp_size)
        launch(std::integral_constant<int, 2>());
    else if (head_dim <= 4 * warp_size)
        launch(std::integral_constant<int, 4>());
    else
        launch(std::integral_constant<int, most_head_dim / warp_size>());
    b.launch({queries, threads}, merge_attention{parts, O});
}

/// scores_i = scale_i sum_c table(i,c) x_c, a warp a row; the table's numbers are Number, one of row_format's. A lane
/// reads 16 bytes of them at a time; x lies in shared memory in fours, those that neighbouring lanes want next to each
/// other, so that they come from different banks.
template <class Number>
struct head_scores {
    static constexpr bool overlaps = true;
    static constexpr index at_once = 16 / sizeof(Number);
    struct alignas(16) piece {
        Number number[at_once];
    };

    matrix_view<const Number> table;
    const float* scales;  // null: ones
    const float* x;
    float* scores;

    static std::size_t shared_bytes(index cols) { return static_cast<std::size_t>(cols) * sizeof(float) + 16; }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const index whole = table.cols % at_once == 0 ? table.cols / at_once : 0;  // else rows are not aligned
        // Of number k of piece p.
        const auto place = [whole](index p, index k) { return ((k / 4) * whole + p) * 4 + k % 4; };
        wait_for_predecessor(block);
        float* const v = block.template shared<float>(table.cols);
        for (index c = block.thread(); c < table.cols; c += block.threads())
            v[whole == 0 ? c : place(c / at_once, c % at_once)] = x[c];
        block.sync();
        subbit::gpu::for_each_warp(block, table.rows, [&](index i) {
            const Number* const row = table.row(i);
            float sum = 0;
            for (index p = block.lane(); p < whole; p += warp_size) {
                const piece w = load_once(block, reinterpret_cast<const piece*>(row) + p);
                SUBBIT_UNROLL
                for (int k = 0; k < static_cast<int>(at_once); ++k)
                    sum += static_cast<float>(w.number[k]) * v[place(p, k)];
            }
            if (whole == 0)
                for (index c = block.lane(); c < table.cols; c += warp_size)
                    sum += static_cast<float>(row[c]) * v[c];
            sum = block.warp_sum(sum);
            if (block.lane() == 0) scores[i] = scales != nullptr ? scales[i] * sum : sum;
        });
    }
};

}  // namespace llama::gpu_decode
