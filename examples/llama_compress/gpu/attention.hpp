// Rotary embedding and causal grouped-query attention on a GPU, forward and backward (../model/attention.hpp).
//
// A block has eight warps. It holds a tile of 32 rows, four a warp, and walks over tiles of 32 others, one a lane: a
// lane makes the four scores of its warp's rows with its other row, and the warp then sums over the others, a lane for
// every 32nd column. The scores never leave the block. Forward and for dQ the rows are queries and the others keys; for
// dK and dV it is the other way round, and a block goes through all query heads of its key head, so that no sum is
// shared.
#pragma once

#include "model/attention.hpp"

#include <subbit/backend/gpu.hpp>

#include <cmath>
#include <limits>
#include <span>
#include <string>

namespace llama {

namespace gpu {

using subbit::gpu::launch_shape;
using subbit::gpu::maximum;
using subbit::gpu::warp_size;

/// A pair (j, j + half) of a head of a token.
template <class S>
struct rotate_pair {
    matrix_view<S> X;
    matrix_view<const S> cosine, sine;
    index head_dim, window, first_position;
    S direction;

    SUBBIT_KERNEL void operator()(index t, index pair) const {
        const index half = head_dim / 2;
        const auto [head, j] = subbit::gpu::place_of(pair, half);
        const index position = first_position + t % window;
        S* const low = X.row(t) + head * head_dim + j;
        const S a = low[0], z = low[half], c = cosine(position, j), s = direction * sine(position, j);
        low[0] = a * c - z * s;
        low[half] = z * c + a * s;
    }
};

inline constexpr int tile = 32, warps = 8, rows_per_warp = tile / warps;
static_assert(tile == warp_size);

/// 32 rows of head_dim numbers in shared memory; the odd distance keeps a column's entries in different banks.
template <class S>
struct shared_tile {
    S* data;
    index width;

    template <class Block>
    SUBBIT_KERNEL shared_tile(Block& block, index head_dim)
        : data(block.template shared<S>(count(head_dim))), width(head_dim) {}

    static constexpr index count(index head_dim) { return tile * (head_dim + 1); }

    SUBBIT_KERNEL const S* row(index i) const { return data + i * (width + 1); }
    /// X's rows from `first` on, of which `rows` are there; zero beyond. The threads must meet before they read.
    template <class Block>
    SUBBIT_KERNEL void load(const Block& block, matrix_view<const S> X, index first, index rows) const {
        for (index i = block.warp(); i < tile; i += warps)
            for (index c = block.lane(); c < width; c += warp_size)
                data[i * (width + 1) + c] = i < rows ? X(first + i, c) : S(0);
    }
};

/// The products of the warp's four rows of X with y, read once for all four.
template <class S>
struct four_dots {
    S of[rows_per_warp] = {};

    template <class Block>
    SUBBIT_KERNEL four_dots(const Block& block, const shared_tile<S>& X, const S* y) {
        const S* const x = X.row(block.warp() * rows_per_warp);
        for (index c = 0; c < X.width; ++c)
            for (int r = 0; r < rows_per_warp; ++r)
                of[r] += x[r * (X.width + 1) + c] * y[c];
    }
};

/// Sums of a warp's four rows over columns lane, lane + 32, ...: `Columns` of them.
template <class S, int Columns>
struct row_sums {
    S at[rows_per_warp][Columns] = {};

    /// += sum_i weights(r, i) X(i, :), weights in shared memory, a row of 32 for each of the warp's rows.
    template <class Block>
    SUBBIT_KERNEL void add(const Block& block, const S* weights, const shared_tile<S>& X) {
        for (index i = 0; i < tile; ++i)
            for (int k = 0; k < Columns; ++k) {
                const index c = block.lane() + k * warp_size;
                const S x = c < X.width ? X.row(i)[c] : S(0);
                for (int r = 0; r < rows_per_warp; ++r)
                    at[r][k] += weights[r * tile + i] * x;
            }
    }
    /// out(first + row, :) = the sums times factor(r), for those of the rows that are there.
    template <class Block, class F>
    SUBBIT_KERNEL void store(const Block& block, matrix_view<S> out, index first, index rows, F factor) const {
        for (int r = 0; r < rows_per_warp; ++r) {
            const index row = block.warp() * rows_per_warp + r;
            if (row >= rows) continue;
            for (int k = 0; k < Columns; ++k)
                if (const index c = block.lane() + k * warp_size; c < out.cols)
                    out(first + row, c) = at[r][k] * factor(r);
        }
    }
};

/// One head of a window in matrices of stacked windows and heads.
template <class T>
SUBBIT_KERNEL matrix_view<T> head_of(matrix_view<T> X, index window, index rows, index head, index head_dim) {
    return X.block(window * rows, head * head_dim, rows, head_dim);
}

/// Which part of the work a block has.
struct attention_part {
    index window, head, first;

    SUBBIT_KERNEL attention_part(index block, index heads, index tiles)
        : window(block / (heads * tiles)), head(block / tiles % heads), first(block % tiles * tile) {}
};

/// A query's softmax over keys that come tile by tile: the highest score so far, and the sum of exp(score - top).
template <class S>
struct running_softmax {
    S top = -std::numeric_limits<S>::infinity();
    S total = 0;

    /// What a key weighs now, and by what everything before has shrunk.
    struct step {
        S weight, shrink;
    };
    /// Adds a key for each lane of the warp. In the first tile each query must see a key, so that `top` is finite from
    /// then on: a block's first tile begins with the first key that its first query sees, and the first key that its
    /// r-th query sees is at most r further, within the tile.
    template <class Block>
    SUBBIT_KERNEL step add(Block& block, bool sees, S score) {
        const S seen = sees ? score : -std::numeric_limits<S>::infinity();
        const S highest = block.warp_reduce(seen, maximum{}), higher = highest > top ? highest : top;
        const step now{sees ? std::exp(seen - higher) : S(0), std::exp(top - higher)};
        total = total * now.shrink + block.warp_sum(now.weight);
        top = higher;
        return now;
    }
};

SUBBIT_KERNEL inline index least(index a, index b) {
    return a < b ? a : b;
}

/// O = softmax(Q K') V, by running maxima and sums; a block for 32 queries of a head.
template <class S, int Columns>
struct attention_forward {
    attention_shape s;
    S scale;
    matrix_view<const S> Q, K, V;
    matrix_view<S> O;

    static constexpr int most_threads = warps * warp_size;

    static launch_shape shape(const attention_shape& s) {
        const index numbers = 3 * shared_tile<S>::count(s.head_dim) + tile * tile;
        return {s.windows * s.heads * ((s.queries + tile - 1) / tile), most_threads,
                static_cast<std::size_t>(numbers) * sizeof(S) + 64};
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const attention_part part(block.index(), s.heads, (s.queries + tile - 1) / tile);
        const index kv_head = part.head * s.kv_heads / s.heads, offset = s.keys - s.queries;
        const index rows = least(tile, s.queries - part.first), visible = offset + part.first + rows;
        const auto keys = head_of(K, part.window, s.keys, kv_head, s.head_dim);
        const auto values = head_of(V, part.window, s.keys, kv_head, s.head_dim);
        const index first_key = first_seen(offset + part.first, s.span);
        const shared_tile<S> q(block, s.head_dim), k(block, s.head_dim), v(block, s.head_dim);
        S* const p = block.template shared<S>(tile * tile) + block.warp() * rows_per_warp * tile;
        q.load(block, head_of(Q, part.window, s.queries, part.head, s.head_dim), part.first, rows);

        row_sums<S, Columns> sums;
        running_softmax<S> softmax[rows_per_warp];
        for (index first = first_key; first < visible; first += tile) {
            block.sync();
            k.load(block, keys, first, least(tile, visible - first));
            v.load(block, values, first, least(tile, visible - first));
            block.sync();
            const four_dots<S> scores(block, q, k.row(block.lane()));
            for (int r = 0; r < rows_per_warp; ++r) {
                const index row = block.warp() * rows_per_warp + r;
                const bool sees = s.sees(offset + part.first + row, first + block.lane());
                const auto now = softmax[r].add(block, sees, scale * scores.of[r]);
                for (int c = 0; c < Columns; ++c)
                    sums.at[r][c] *= now.shrink;
                p[r * tile + block.lane()] = now.weight;
            }
            block.sync_warp();
            sums.add(block, p, v);
        }
        sums.store(block, head_of(O, part.window, s.queries, part.head, s.head_dim), part.first, rows,
                   [&](int r) { return S(1) / softmax[r].total; });
    }
};

/// What the backward pass needs of every query: log sum exp of its scores and sum_c O dO, (heads, queries of all
/// windows) each.
template <class S>
struct query_statistics {
    S* log_sums;
    S* dots;
};

/// dQ, and the statistics on the way; a block for 32 queries of a head.
template <class S, int Columns>
struct attention_query_gradient {
    attention_shape s;
    S scale;
    matrix_view<const S> Q, K, V, O, dO;
    matrix_view<S> dQ;
    query_statistics<S> statistics;

    static constexpr int most_threads = warps * warp_size;

    static launch_shape shape(const attention_shape& s) {
        const index numbers = 4 * shared_tile<S>::count(s.head_dim) + tile * tile;
        return {s.windows * s.heads * ((s.queries + tile - 1) / tile), most_threads,
                static_cast<std::size_t>(numbers) * sizeof(S) + 80};
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const attention_part part(block.index(), s.heads, (s.queries + tile - 1) / tile);
        const index kv_head = part.head * s.kv_heads / s.heads;
        const index rows = least(tile, s.queries - part.first), visible = part.first + rows;
        const index first_key = first_seen(part.first, s.span);
        const auto keys = head_of(K, part.window, s.keys, kv_head, s.head_dim);
        const auto values = head_of(V, part.window, s.keys, kv_head, s.head_dim);
        const auto out = head_of(O, part.window, s.queries, part.head, s.head_dim);
        const shared_tile<S> q(block, s.head_dim), d_o(block, s.head_dim), k(block, s.head_dim), v(block, s.head_dim);
        S* const ds = block.template shared<S>(tile * tile) + block.warp() * rows_per_warp * tile;
        q.load(block, head_of(Q, part.window, s.queries, part.head, s.head_dim), part.first, rows);
        d_o.load(block, head_of(dO, part.window, s.queries, part.head, s.head_dim), part.first, rows);
        block.sync();

        running_softmax<S> softmax[rows_per_warp];
        S dots[rows_per_warp];
        for (int r = 0; r < rows_per_warp; ++r) {
            const index row = block.warp() * rows_per_warp + r;
            S product = 0;
            for (index c = block.lane(); c < s.head_dim && row < rows; c += warp_size)
                product += out(part.first + row, c) * d_o.row(row)[c];
            dots[r] = block.warp_sum(product);
        }
        for (index first = first_key; first < visible; first += tile) {
            block.sync();
            k.load(block, keys, first, least(tile, visible - first));
            block.sync();
            const four_dots<S> scores(block, q, k.row(block.lane()));
            for (int r = 0; r < rows_per_warp; ++r) {
                const index row = block.warp() * rows_per_warp + r;
                const bool sees = s.sees(part.first + row, first + block.lane());
                softmax[r].add(block, sees, scale * scores.of[r]);
            }
        }
        S log_sums[rows_per_warp];
        for (int r = 0; r < rows_per_warp; ++r) {
            const index row = block.warp() * rows_per_warp + r;
            log_sums[r] = softmax[r].top + std::log(softmax[r].total);
            if (row >= rows || block.lane() != 0) continue;
            const index at = (part.head * s.windows + part.window) * s.queries + part.first + row;
            statistics.log_sums[at] = log_sums[r];
            statistics.dots[at] = dots[r];
        }

        row_sums<S, Columns> sums;
        for (index first = first_key; first < visible; first += tile) {
            block.sync();
            k.load(block, keys, first, least(tile, visible - first));
            v.load(block, values, first, least(tile, visible - first));
            block.sync();
            const four_dots<S> scores(block, q, k.row(block.lane())), d_weights(block, d_o, v.row(block.lane()));
            for (int r = 0; r < rows_per_warp; ++r) {
                const bool sees = s.sees(part.first + block.warp() * rows_per_warp + r, first + block.lane());
                const S weight = sees ? std::exp(scale * scores.of[r] - log_sums[r]) : S(0);
                ds[r * tile + block.lane()] = weight * (d_weights.of[r] - dots[r]) * scale;
            }
            block.sync_warp();
            sums.add(block, ds, k);
        }
        sums.store(block, head_of(dQ, part.window, s.queries, part.head, s.head_dim), part.first, rows,
                   [](int) { return S(1); });
    }
};

/// dK and dV; a block for 32 keys of a key head.
template <class S, int Columns>
struct attention_key_gradient {
    attention_shape s;
    S scale;
    matrix_view<const S> Q, K, V, dO;
    matrix_view<S> dK, dV;
    query_statistics<S> statistics;

    static constexpr int most_threads = warps * warp_size;

    static launch_shape shape(const attention_shape& s) {
        const index numbers = 4 * shared_tile<S>::count(s.head_dim) + 2 * tile * tile;
        return {s.windows * s.kv_heads * ((s.keys + tile - 1) / tile), most_threads,
                static_cast<std::size_t>(numbers) * sizeof(S) + 96};
    }

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const attention_part part(block.index(), s.kv_heads, (s.keys + tile - 1) / tile);
        const index rows = least(tile, s.keys - part.first), group = s.heads / s.kv_heads;
        // The first query that sees none of the keys any more.
        const index end = s.span == 0 ? s.queries : least(s.queries, part.first + rows - 1 + s.span);
        const shared_tile<S> k(block, s.head_dim), v(block, s.head_dim), q(block, s.head_dim), d_o(block, s.head_dim);
        S* const p = block.template shared<S>(tile * tile) + block.warp() * rows_per_warp * tile;
        S* const ds = block.template shared<S>(tile * tile) + block.warp() * rows_per_warp * tile;
        k.load(block, head_of(K, part.window, s.keys, part.head, s.head_dim), part.first, rows);
        v.load(block, head_of(V, part.window, s.keys, part.head, s.head_dim), part.first, rows);

        row_sums<S, Columns> of_keys, of_values;
        for (index head = part.head * group; head < (part.head + 1) * group; ++head) {
            const auto queries = head_of(Q, part.window, s.queries, head, s.head_dim);
            const auto gradients = head_of(dO, part.window, s.queries, head, s.head_dim);
            const index statistics_row = (head * s.windows + part.window) * s.queries;
            for (index first = part.first; first < end; first += tile) {
                const index present = least(tile, s.queries - first), query = first + block.lane();
                block.sync();
                q.load(block, queries, first, present);
                d_o.load(block, gradients, first, present);
                block.sync();
                const index at = statistics_row + least(query, s.queries - 1);
                const S log_sum = statistics.log_sums[at], query_dot = statistics.dots[at];
                const four_dots<S> scores(block, k, q.row(block.lane())), d_weights(block, v, d_o.row(block.lane()));
                for (int r = 0; r < rows_per_warp; ++r) {
                    const index key = part.first + block.warp() * rows_per_warp + r;
                    const S weight =
                        query < s.queries && s.sees(query, key) ? std::exp(scale * scores.of[r] - log_sum) : S(0);
                    p[r * tile + block.lane()] = weight;
                    ds[r * tile + block.lane()] = weight * (d_weights.of[r] - query_dot) * scale;
                }
                block.sync_warp();
                of_values.add(block, p, d_o);
                of_keys.add(block, ds, q);
            }
        }
        const auto one = [](int) { return S(1); };
        of_keys.store(block, head_of(dK, part.window, s.keys, part.head, s.head_dim), part.first, rows, one);
        of_values.store(block, head_of(dV, part.window, s.keys, part.head, s.head_dim), part.first, rows, one);
    }
};

/// Calls f(number of columns of a lane, as a type); value_error for heads that are too wide.
template <class F>
void with_columns(index head_dim, F&& f) {
    if (head_dim <= 32) return f(std::integral_constant<int, 1>());
    if (head_dim <= 64) return f(std::integral_constant<int, 2>());
    if (head_dim <= 128) return f(std::integral_constant<int, 4>());
    if (head_dim <= 256) return f(std::integral_constant<int, 8>());
    throw subbit::value_error("attention: heads of " + std::to_string(head_dim) + " numbers, expected at most 256");
}

}  // namespace gpu

template <device_backend B, class S>
void rotate(const B& b, const rotary_table<S, B>& table, matrix_view<S> X, index head_dim, index window,
            index first_position, S direction) {
    subbit::gpu::for_row_entries(b, X.rows, X.cols / 2,
                                 gpu::rotate_pair<S>{X, const_view(table.cosine), const_view(table.sine), head_dim,
                                                     window, first_position, direction});
}

template <device_backend B, class S>
void attention(const B& b, const attention_shape& s, matrix_view<const S> Q, matrix_view<const S> K,
               matrix_view<const S> V, matrix_view<S> O) {
    const S scale = static_cast<S>(s.scale);
    gpu::with_columns(s.head_dim, [&](auto columns) {
        using kernel = gpu::attention_forward<S, columns()>;
        b.launch(kernel::shape(s), kernel{s, scale, Q, K, V, O});
    });
}

template <device_backend B, class S>
void attention_backward(const B& b, const attention_shape& s, const std::type_identity_t<attention_values<S>>& x,
                        matrix_view<const S> dO, const std::type_identity_t<attention_gradients<S>>& d) {
    const S scale = static_cast<S>(s.scale);
    auto log_sums = b.template scratch<S>(s.heads * x.Q.rows), dots = b.template scratch<S>(s.heads * x.Q.rows);
    const gpu::query_statistics<S> statistics{log_sums.data(), dots.data()};
    gpu::with_columns(s.head_dim, [&](auto columns) {
        using query_kernel = gpu::attention_query_gradient<S, columns()>;
        using key_kernel = gpu::attention_key_gradient<S, columns()>;
        b.launch(query_kernel::shape(s), query_kernel{s, scale, x.Q, x.K, x.V, x.O, dO, d.Q, statistics});
        b.launch(key_kernel::shape(s), key_kernel{s, scale, x.Q, x.K, x.V, dO, d.K, d.V, statistics});
    });
}

}  // namespace llama
