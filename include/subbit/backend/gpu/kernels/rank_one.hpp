// The magnitude step of ADMM: the rank-one factors of |T|, the projection onto signs, the dual. No host in between.
#pragma once

#include <subbit/backend/gpu/kernels/reductions.hpp>
#include <subbit/backend/ops/solver.hpp>

#include <algorithm>
#include <cmath>

namespace subbit {

namespace gpu {

/// y = |T| x.
template <class S>
struct abs_product {
    matrix_view<const S> T;
    const S* x;
    S* y;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const S t = T(i, j);
        return static_cast<double>(t < S(0) ? -t : t) * static_cast<double>(x[j]);
    }
    SUBBIT_KERNEL void store(index i, double sum) const { y[i] = static_cast<S>(sum); }
};

/// x <- x / max(|x|, least_norm), by one block.
template <class S>
struct normalize_vector {
    static constexpr int most_threads = lone_threads;

    S* x;
    index size;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double sum = 0;
        for (index i = block.thread(); i < size; i += block.threads())
            sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        const double norm = std::sqrt(block.sum(sum));
        const double inverse = 1 / (norm < least_norm ? least_norm : norm);
        for (index i = block.thread(); i < size; i += block.threads())
            x[i] = static_cast<S>(static_cast<double>(x[i]) * inverse);
    }
};

template <class S>
struct fill_entry {
    S* x;
    S value;

    SUBBIT_KERNEL void operator()(index /*zero*/, index j) const { x[j] = value; }
};

/// A vector that is kept as it came out of a sum, beside the shares of its squared norm that blocks left.
struct raw_vector {
    double* entries;
    double* squares;
    index shares;

    /// 1 / max(|x|, least_norm), to every thread of the block.
    template <class Block>
    SUBBIT_KERNEL double inverse_norm(Block& block) const {
        double sum = 0;
        for (index s = block.thread(); s < shares; s += block.threads())
            sum += squares[s];
        const double norm = std::sqrt(block.sum(sum));
        return 1 / (norm < least_norm ? least_norm : norm);
    }
};

/// Half a power iteration from either side in one reading of a row-major T: y = |T| x / |x| and, row by row as y comes,
/// this block's share of |T|' y. Adds L to T on the way where it is given. Without x, y = |T| 1, or y = 1.
template <class S>
struct power_pass {
    matrix_view<const S> L;
    matrix_view<S> T;
    raw_vector x, y;
    bool ones;  // y = 1
    double* partial;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double* const share = block.template shared<double>(T.cols);
        for (index j = block.thread(); j < T.cols; j += block.threads())
            share[j] = 0;
        const double inverse = x.entries != nullptr ? x.inverse_norm(block) : 1.0;
        double squares = 0;
        for (index i = block.index(); i < T.rows; i += block.blocks()) {
            double sum = 0;
            for (index j = block.thread(); j < T.cols; j += block.threads()) {
                if (L.data != nullptr) T(i, j) += L(i, j);
                sum += magnitude(T(i, j)) * (x.entries != nullptr ? x.entries[j] : 1.0);
            }
            const double row = ones ? 1.0 : block.sum(sum) * inverse;
            for (index j = block.thread(); j < T.cols; j += block.threads())
                share[j] += magnitude(T(i, j)) * row;
            if (block.thread() == 0) y.entries[i] = row;
            squares += row * row;
        }
        if (block.thread() == 0) y.squares[block.index()] = squares;
        for (index j = block.thread(); j < T.cols; j += block.threads())
            partial[block.index() * T.cols + j] = share[j];
    }

    static SUBBIT_KERNEL double magnitude(S t) { return static_cast<double>(t < S(0) ? -t : t); }
};

/// x = the sum of the blocks' shares: a lane for a column, the shares dealt out to the warps of a block.
struct power_sums {
    static constexpr int most_threads = lone_threads;

    const double* partial;
    index blocks, cols;
    raw_vector x;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        double* const of_warps = block.template shared<double>(block.threads());
        const index j = block.index() * warp_size + block.lane();
        double sum = 0;
        if (j < cols)
            for (index b = block.warp(); b < blocks; b += block.warps())
                sum += partial[b * cols + j];
        of_warps[block.thread()] = sum;
        block.sync();
        if (block.warp() != 0) return;
        for (int w = 1; w < block.warps(); ++w)
            sum += of_warps[w * warp_size + block.lane()];
        if (j < cols) x.entries[j] = sum;
        const double squares = block.warp_sum(sum * sum);
        if (block.lane() == 0) x.squares[block.index()] = squares;
    }
};

/// The end of both: Z = sign(T) o y x', T = leak (T - Z), a block a row. With y from the last pass x is |T|' y, and the
/// magnitudes y x' / |y|^2; else y = |T| x is made here, with x / |x|.
template <class S>
struct project_rank_one {
    matrix_view<S> T, Z;
    raw_vector x, y;  // y without entries: made here
    S leak;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const double inverse = y.entries != nullptr ? y.inverse_norm(block) : x.inverse_norm(block);
        for (index i = block.index(); i < T.rows; i += block.blocks()) {
            double row = 0;
            if (y.entries != nullptr) {
                row = y.entries[i];
            } else {
                for (index j = block.thread(); j < T.cols; j += block.threads())
                    row += power_pass<S>::magnitude(T(i, j)) * x.entries[j];
                row = block.sum(row);
            }
            row *= inverse * inverse;
            for (index j = block.thread(); j < T.cols; j += block.threads()) {
                const S t = T(i, j), size = static_cast<S>(row * x.entries[j]), z = t >= S(0) ? size : -size;
                Z(i, j) = z;
                T(i, j) = leak * (t - z);
            }
        }
    }
};

/// t = D: Z = sign(t) o u, D = leak (t - Z).
template <class S>
struct project_entry {
    matrix_view<S> D, Z;
    factors<S> magnitudes;
    S leak;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        const S t = D(i, j), magnitude = magnitudes.at(i, j);
        const S z = t >= S(0) ? magnitude : -magnitude;
        Z(i, j) = z;
        D(i, j) = leak * (t - z);
    }
};

/// The whole step in one pass where magnitudes are row means and rows lie in memory as such: a warp a row.
template <class S>
struct project_row_means {
    matrix_view<const S> L;
    matrix_view<S> D, Z;
    S leak;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, L.rows, [&](index i) {
            double sum = 0;
            for (index j = block.lane(); j < L.cols; j += warp_size) {
                const S t = L(i, j) + D(i, j);
                D(i, j) = t;  // read again below by the lane that writes it here
                sum += static_cast<double>(t < S(0) ? -t : t);
            }
            const S mean = static_cast<S>(block.warp_sum(sum) / static_cast<double>(L.cols));
            for (index j = block.lane(); j < L.cols; j += warp_size) {
                const S t = D(i, j), z = t >= S(0) ? mean : -mean;
                Z(i, j) = z;
                D(i, j) = leak * (t - z);
            }
        });
    }
};

/// The rank-one step on what is stored by rows; `turned` where the magnitudes are those of its transpose. Five power
/// iterations are five passes, from rows' or columns' ones, with one vector left in the end as the last pass made it.
template <class B, class S>
void project_rank_one_rows(const B& b, bool turned, S leak, matrix_view<const S> L, matrix_view<S> D,
                           matrix_view<S> Z) {
    constexpr index most_blocks = 512, rows_a_block = 4;
    const index blocks = std::clamp<index>(D.rows / rows_a_block, 1, most_blocks);
    const index tiles = (D.cols + warp_size - 1) / warp_size;
    auto partial = b.template scratch<double>(blocks * D.cols), xs = b.template scratch<double>(D.cols + tiles),
         ys = b.template scratch<double>(D.rows + blocks);
    const raw_vector x{xs.data(), xs.data() + D.cols, tiles}, y{ys.data(), ys.data() + D.rows, blocks};
    launch_shape pass = cover_by_blocks(blocks, D.cols), sums = one_block(blocks * warp_size);
    pass.shared_bytes = static_cast<std::size_t>(D.cols) * sizeof(double);
    sums.blocks = tiles;
    sums.shared_bytes = static_cast<std::size_t>(sums.threads) * sizeof(double);
    for (int k = 0; k < power_iterations + turned; ++k) {
        const bool first = k == 0;
        b.launch(pass, power_pass<S>{first ? L : matrix_view<const S>{}, D, first ? raw_vector{} : x, y,
                                     first && turned, partial.data()});
        b.launch(sums, power_sums{partial.data(), blocks, D.cols, x});
    }
    b.launch(cover_by_blocks(D.rows, D.cols), project_rank_one<S>{D, Z, x, turned ? y : raw_vector{}, leak});
}

}  // namespace gpu

}  // namespace subbit
