// What a pass over the newest tokens needs besides the linear layers and the attention (decode_attention.hpp), as
// kernels: norm, rotation into the cache, output head; the MLP's gate is gate.hpp's. Where a pass begins is read from
// the device's memory, so that one recorded graph serves every token. Each kernel begins while the one before it ends
// (gpu::overlaps): a token is some hundred short launches.
#pragma once

#include "model/attention.hpp"
#include "model/norm.hpp"
#include "model/row_table.hpp"

#include <subbit/backend/gpu.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace llama::gpu_decode {

using subbit::index;
using subbit::matrix_view;
using subbit::gpu::warp_size;

inline constexpr int threads = 256, warps = threads / warp_size;

/// Y(t,:) = X(t,:) / rms(X(t,:)) o (offset + weight), or is increased by it; Y may be X. A block a row, since there is
/// often one row alone.
struct norm_rows {
    static constexpr bool overlaps = true;

    matrix_view<const float> X;
    const float* weight;
    float eps, offset;
    matrix_view<float> Y;
    bool add = false;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const float* const x = X.row(block.index());
        float squares = 0;
        for (index c = block.thread(); c < X.cols; c += block.threads())
            squares += x[c] * x[c];
        const float inverse = inverse_root(block.sum(squares) / static_cast<float>(X.cols), eps);
        for (index c = block.thread(); c < X.cols; c += block.threads())
            Y(block.index(), c) = (add ? Y(block.index(), c) : 0.0f) + x[c] * inverse * (offset + weight[c]);
    }
};

/// The cache of a block: keys and values, (rows, kv_heads * head_dim) each. A token sees the last `span` (0: all); then
/// the cache is a ring, and the token at a position lies in row position mod rows.
struct cache_view {
    float* keys;
    float* values;
    index width;
    int rows, span = 0;

    /// Where a token's numbers begin among the keys, and among the values.
    SUBBIT_KERNEL index at(int position) const { return (position < rows ? position : position % rows) * width; }
};

/// Rows of a cache for up to `capacity` tokens, of which at most `piece` come at once: those, and what the first of
/// them sees.
inline index cache_rows(index capacity, index span, index piece) {
    return span == 0 ? capacity : std::min(capacity, span + piece);
}

/// Cosines and sines of a token's place, (positions, head_dim / 2) each.
struct rotary_view {
    matrix_view<const float> cosine, sine;
};

/// Q rotated in place; K rotated, and V, to the cache. A thread for each pair (j, j + half) of each head.
struct rotate_and_keep {
    static constexpr bool overlaps = true;

    matrix_view<float> Q;
    matrix_view<const float> K, V;
    rotary_view table;
    index head_dim;
    const std::int32_t* position;  // of the first row
    cache_view cache;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        wait_for_predecessor(block);
        const index half = head_dim / 2, q_pairs = Q.cols / 2, k_pairs = K.cols / 2, pairs = q_pairs + 2 * k_pairs;
        subbit::gpu::for_each_entry(block, Q.rows, pairs, [&](index t, index pair) {
            const index at = position[0] + t, row = cache.at(static_cast<int>(at));
            const auto rotate = [&](const float* from, float* to) {
                const auto [head, j] = subbit::gpu::place_of(pair, half);
                const index low = head * head_dim + j;
                const float a = from[low], z = from[low + half], c = table.cosine(at, j), s = table.sine(at, j);
                to[low] = a * c - z * s;
                to[low + half] = z * c + a * s;
            };
            if (pair < q_pairs) return rotate(Q.row(t), Q.row(t));
            pair -= q_pairs;
            if (pair < k_pairs) return rotate(K.row(t), cache.keys + row);
            pair -= k_pairs;
            for (index c = 2 * pair; c < 2 * pair + 2; ++c)
                cache.values[row + c] = V(t, c);
        });
    }
};

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
