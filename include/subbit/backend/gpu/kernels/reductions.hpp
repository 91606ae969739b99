// Sums over rows, columns and whole matrices. The order of a sum depends on the shape alone: no atomics.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/kernels/elementwise.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace subbit {

namespace gpu {

/// f.store(i, sum_j f(i, j)), where j are neighbours in memory: a warp for each i.
template <class F>
struct sums_along {
    index rows, cols;
    F f;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, rows, [&](index i) {
            double sum = 0;
            for (index j = block.lane(); j < cols; j += warp_size)
                sum += f(i, j);
            sum = block.warp_sum(sum);
            if (block.lane() == 0) f.store(i, sum);
        });
    }
};

/// The same where i are neighbours in memory: a lane for each of 32 neighbours i, the j of one chunk shared out to the
/// warps of a block. partial[chunk * rows + i] is the chunk's sum; with one chunk it goes to f.store.
template <class F>
struct sums_across {
    static constexpr int warps_per_block = 8;

    index rows, cols, chunks;
    double* partial;
    F f;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double* const of_warps = block.template shared<double>(warps_per_block * warp_size);
        const index tile = block.index() / chunks, chunk = block.index() % chunks;
        const index i = tile * warp_size + block.lane();
        const index length = (cols + chunks - 1) / chunks, end = min_of((chunk + 1) * length, cols);
        double sum = 0;
        if (i < rows)
            for (index j = chunk * length + block.warp(); j < end; j += warps_per_block)
                sum += f(i, j);
        of_warps[block.thread()] = sum;
        block.sync();
        if (block.warp() != 0 || i >= rows) return;
        for (int w = 1; w < warps_per_block; ++w)
            sum += of_warps[w * warp_size + block.lane()];
        if (chunks == 1)
            f.store(i, sum);
        else
            partial[chunk * rows + i] = sum;
    }

    static SUBBIT_KERNEL index min_of(index a, index b) { return a < b ? a : b; }
};

/// Adds the chunks of sums_across up.
template <class F>
struct chunk_sums {
    index rows, chunks;
    const double* partial;
    F f;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_thread(block, rows, [&](index i) {
            double sum = 0;
            for (index c = 0; c < chunks; ++c)
                sum += partial[c * rows + i];
            f.store(i, sum);
        });
    }
};

/// f.store(i, sum_{j < cols} f(i, j)) for every i < rows. `along`: neighbours j are neighbours in memory, not i.
template <class F, class B>
void sum_rows(const B& b, index rows, index cols, bool along, const F& f) {
    if (rows == 0) return;
    if (along) return b.launch(cover_by_warps(rows), sums_along<F>{rows, cols, f});
    using across = sums_across<F>;
    constexpr index least_length = 128, enough_blocks = 512;
    const index tiles = (rows + warp_size - 1) / warp_size;
    const index chunks = std::clamp<index>(std::min(cols / least_length, enough_blocks / tiles), 1, 128);
    auto partial = b.template scratch<double>(chunks > 1 ? chunks * rows : 0);
    constexpr int threads = across::warps_per_block * warp_size;
    b.launch({tiles * chunks, threads, threads * sizeof(double)}, across{rows, cols, chunks, partial.data(), f});
    if (chunks > 1) b.launch(cover(rows), chunk_sums<F>{rows, chunks, partial.data(), f});
}

/// True where neighbours in a row of X are neighbours in memory.
template <class T>
bool runs_along(matrix_view<T> X) {
    return X.col_stride <= X.row_stride || X.rows == 1;
}

/// partial[block] = the block's share of sum f(i, j).
template <class F>
struct partial_sums {
    index rows, cols;
    double* partial;
    F f;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double sum = 0;
        for_each_entry(block, rows, cols, [&](index i, index j) { sum += f(i, j); });
        sum = block.sum(sum);
        if (block.thread() == 0) partial[block.index()] = sum;
    }
};

/// total[0] += factor * sum of `count` numbers, by one block.
struct add_total {
    static constexpr int most_threads = lone_threads;

    const double* numbers;
    index count;
    double factor;
    double* total;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double sum = 0;
        for (index i = block.thread(); i < count; i += block.threads())
            sum += numbers[i];
        sum = block.sum(sum);
        if (block.thread() == 0) *total += factor * sum;
    }
};

/// The sums of f(i, j) over parts of a rows x cols matrix, still on the device.
template <class F, class B>
auto sum_parts(const B& b, index rows, index cols, const F& f) {
    launch_shape shape = cover(rows * cols);
    shape.blocks = std::min<index>(shape.blocks, 512);
    auto partial = b.template scratch<double>(shape.blocks);
    b.launch(shape, partial_sums<F>{rows, cols, partial.data(), f});
    return partial;
}

/// sum f(i, j) over a rows x cols matrix, on the host: waits for the device.
template <class F, class B>
double sum_all(const B& b, index rows, index cols, const F& f) {
    if (rows * cols == 0) return 0;
    const auto partial = sum_parts(b, rows, cols, f);
    std::vector<double> sums(static_cast<std::size_t>(partial.size()));
    b.device().copy_to_host(sums.data(), partial.data(), partial.bytes());
    double sum = 0;
    for (const double s : sums)
        sum += s;
    return sum;
}

/// Adds the same sum to a number of the device's memory.
template <class F, class B>
void add_sum(const B& b, index rows, index cols, const F& f, double* total) {
    if (rows * cols == 0) return;
    const auto partial = sum_parts(b, rows, cols, f);
    b.launch(one_block(partial.size()), add_total{partial.data(), partial.size(), 1, total});
}

/// |X(i,j)|, to the mean.
template <class S>
struct abs_mean {
    matrix_view<const S> X;
    S* means;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const auto x = static_cast<double>(X(i, j));
        return x < 0 ? -x : x;
    }
    SUBBIT_KERNEL void store(index i, double sum) const {
        means[i] = static_cast<S>(X.cols > 0 ? sum / static_cast<double>(X.cols) : 0.0);
    }
};

/// X(i,j)^2, to the norm.
template <class S>
struct row_norm {
    matrix_view<const S> X;
    S* norms;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const auto x = static_cast<double>(X(i, j));
        return x * x;
    }
    SUBBIT_KERNEL void store(index i, double sum) const { norms[i] = static_cast<S>(std::sqrt(sum)); }
};

/// X(i,j)^2, to one over the norm, or 0.
template <class S>
struct inverse_norm : row_norm<S> {
    SUBBIT_KERNEL void store(index i, double sum) const {
        const S norm = static_cast<S>(std::sqrt(sum));
        this->norms[i] = norm > S(0) ? S(1) / norm : S(0);
    }
};

template <class S>
struct row_dot {
    matrix_view<const S> X, Y;
    S* dots;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        return static_cast<double>(X(i, j)) * static_cast<double>(Y(i, j));
    }
    SUBBIT_KERNEL void store(index i, double sum) const { dots[i] = static_cast<S>(sum); }
};

template <class S>
struct weighted_square {
    matrix_view<const S> X;
    const S* weights;  // of the columns
    double* sums;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const double x = static_cast<double>(weights[j]) * static_cast<double>(X(i, j));
        return x * x;
    }
    SUBBIT_KERNEL void store(index i, double sum) const { sums[i] += sum; }
};

template <class S>
struct squared_difference {
    matrix_view<const S> X, Y;  // Y without data stands for zero

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const double d = static_cast<double>(X(i, j)) - (Y.data != nullptr ? static_cast<double>(Y(i, j)) : 0.0);
        return d * d;
    }
};

template <class S>
struct diagonal_value {
    matrix_view<const S> G;

    SUBBIT_KERNEL double operator()(index /*zero*/, index i) const { return static_cast<double>(G(i, i)); }
};

template <class S>
struct scaled_copy_entry {
    matrix_view<S> X;
    matrix_view<const S> Z;
    factors<S> by;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = Z(i, j) * by.at(i, j); }
};

/// X(i,j) = Z(i,j) scale[j] where rows of Z and columns of X lie in memory in one piece: by tiles through shared
/// memory, so that both are touched in runs.
template <class S>
struct scaled_turn {
    static constexpr index side = warp_size;
    static constexpr std::size_t shared_bytes = sizeof(S) * side * (side + 1);  // no two lanes meet in one bank

    matrix_view<const S> Z;
    matrix_view<S> X;
    const S* scale;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        S* const tile = block.template shared<S>(side * (side + 1));
        const index across = (Z.cols + side - 1) / side, tiles = (Z.rows + side - 1) / side * across;
        for (index t = block.index(); t < tiles; t += block.blocks()) {
            const index row = t / across * side, col = t % across * side;
            for (index k = block.warp(), j = col + block.lane(); k < side && row + k < Z.rows; k += block.warps())
                if (j < Z.cols) tile[k * (side + 1) + block.lane()] = Z(row + k, j) * scale[j];
            block.sync();
            for (index k = block.warp(), i = row + block.lane(); k < side && col + k < Z.cols; k += block.warps())
                if (i < Z.rows) X(i, col + k) = tile[block.lane() * (side + 1) + k];
            block.sync();
        }
    }
};

/// G <- G + max(penalty[0] mean(diag G) + penalty[1], least) I, by one block.
template <class S>
struct add_ridge {
    static constexpr int most_threads = lone_threads;

    matrix_view<S> G;
    const double* penalty;
    double least;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double sum = 0;
        for (index i = block.thread(); i < G.rows; i += block.threads())
            sum += static_cast<double>(G(i, i));
        const double mean = block.sum(sum) / static_cast<double>(G.rows);
        const double ridge = penalty[0] * mean + penalty[1];
        const S lambda = static_cast<S>(ridge < least ? least : ridge);
        for (index i = block.thread(); i < G.rows; i += block.threads())
            G(i, i) += lambda;
    }
};

}  // namespace gpu

}  // namespace subbit
