// What a pass over the newest tokens needs besides the linear layers, as kernels: norm, rotation into the cache,
// attention to the cache, SwiGLU, output head. Where a pass begins is read from the device's memory, so that one
// recorded graph serves every token. Each kernel begins while the one before it ends (gpu::overlaps): a token is some
// hundred short launches.
#pragma once

#include "../model/row_table.hpp"

#include <subbit/backend/gpu.hpp>

#include <cmath>
#include <cstdint>
#include <limits>

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
        subbit::gpu::for_each_thread(block, Q.rows * pairs, [&](index item) {
            const index t = item / pairs, at = position[0] + t;
            index pair = item % pairs;
            const auto rotate = [&](const float* from, float* to) {
                const index j = pair % half, low = pair / half * head_dim + j;
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

/// O(t, head h) = attention of query h of row t to the cache up to its own position; a block for each. Every warp takes
/// every eighth key, a lane every 32nd number of a head, and keeps a running maximum; the warps meet at the end.
struct attend_to_cache {
    static constexpr bool overlaps = true;
    static constexpr int most_numbers = 8;  // of a head, a lane: heads of up to 256

    matrix_view<const float> Q;
    index head_dim, group;  // queries to a key head
    const std::int32_t* position;
    cache_view cache;
    float scale;
    matrix_view<float> O;

    static std::size_t shared_bytes(index head_dim) {
        return static_cast<std::size_t>(warps * (head_dim + 2)) * sizeof(float) + 32;
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const index heads = Q.cols / head_dim, t = block.index() / heads, h = block.index() % heads;
        const index visible = position[0] + t + 1, offset = h / group * head_dim;
        float* const tops = block.template shared<float>(warps);
        float* const totals = block.template shared<float>(warps);
        float* const sums = block.template shared<float>(warps * head_dim);
        float q[most_numbers], o[most_numbers];
        SUBBIT_UNROLL
        for (int i = 0; i < most_numbers; ++i) {
            const index c = block.lane() + i * warp_size;
            q[i] = c < head_dim ? Q(t, h * head_dim + c) * scale : 0.0f;
            o[i] = 0;
        }
        float top = -std::numeric_limits<float>::infinity(), total = 0;
        for (index key = block.warp(); key < visible; key += warps) {
            const float *const k = cache.keys + key * cache.width + offset, *const v = cache.values +
                                                                                       key * cache.width + offset;
            float score = 0;
            SUBBIT_UNROLL
            for (int i = 0; i < most_numbers; ++i)
                if (const index c = block.lane() + i * warp_size; c < head_dim) score += q[i] * k[c];
            score = block.warp_sum(score);
            const float higher = score > top ? score : top;
            const float shrink = std::exp(top - higher), weight = std::exp(score - higher);
            total = total * shrink + weight;
            top = higher;
            SUBBIT_UNROLL
            for (int i = 0; i < most_numbers; ++i)
                if (const index c = block.lane() + i * warp_size; c < head_dim) o[i] = o[i] * shrink + weight * v[c];
        }
        SUBBIT_UNROLL
        for (int i = 0; i < most_numbers; ++i)
            if (const index c = block.lane() + i * warp_size; c < head_dim) sums[block.warp() * head_dim + c] = o[i];
        if (block.lane() == 0) {
            tops[block.warp()] = top;
            totals[block.warp()] = total;
        }
        block.sync();
        float highest = tops[0], all = 0;
        for (int w = 1; w < warps; ++w)
            highest = tops[w] > highest ? tops[w] : highest;
        for (int w = 0; w < warps; ++w)
            all += totals[w] * std::exp(tops[w] - highest);
        for (index c = block.thread(); c < head_dim; c += block.threads()) {
            float sum = 0;
            for (int w = 0; w < warps; ++w)
                sum += sums[w * head_dim + c] * std::exp(tops[w] - highest);
            O(t, h * head_dim + c) = sum / all;
        }
    }
};

/// scores_i = scale_i sum_c table(i,c) x_c, a warp a row; the table's numbers are Number, one of row_format's.
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
        wait_for_predecessor(block);
        float* const v = block.template shared<float>(table.cols);
        for (index c = block.thread(); c < table.cols; c += block.threads())
            v[c] = x[c];
        block.sync();
        const index whole = table.cols % at_once == 0 ? table.cols / at_once : 0;  // else rows are not aligned
        subbit::gpu::for_each_warp(block, table.rows, [&](index i) {
            const Number* const row = table.row(i);
            float sum = 0;
            for (index p = block.lane(); p < whole; p += warp_size) {
                const piece w = load_once(block, reinterpret_cast<const piece*>(row) + p);
                SUBBIT_UNROLL
                for (int k = 0; k < static_cast<int>(at_once); ++k)
                    sum += static_cast<float>(w.number[k]) * v[p * at_once + k];
            }
            for (index c = whole * at_once + block.lane(); c < table.cols; c += warp_size)
                sum += static_cast<float>(row[c]) * v[c];
            sum = block.warp_sum(sum);
            if (block.lane() == 0) scores[i] = scales != nullptr ? scales[i] * sum : sum;
        });
    }
};

}  // namespace llama::gpu_decode
