// The magnitude step of ADMM: the rank-one factors of |T|, the projection onto signs, the dual. No host in between.
#pragma once

#include <subbit/backend/gpu/reductions.hpp>
#include <subbit/backend/operations.hpp>

#include <algorithm>
#include <cmath>
#include <span>

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

/// x <- x / max(|x|, 1e-12), by one block.
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
        constexpr double tiny = 1e-12;
        const double inverse = 1 / (norm < tiny ? tiny : norm);
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

/// t = D: Z = sign(t) o u v', D = leak (t - Z).
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

}  // namespace gpu

/// Only v is normalized within the iteration: what u is multiplied by there, v's norm takes off again.
template <class B, class S>
void do_rank1_magnitude(gpu_tag, const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    if (T.size() == 0) return;
    constexpr int power_iterations = 5;
    const S start = S(1) / std::sqrt(static_cast<S>(T.cols));
    b.launch(gpu::cover(T.cols), gpu::entries<gpu::fill_entry<S>>{1, T.cols, {v.data(), start}});
    const auto rows = [&] {
        gpu::sum_rows(b, T.rows, T.cols, gpu::runs_along(T), gpu::abs_product<S>{T, v.data(), u.data()});
    };
    for (int k = 0; k < power_iterations; ++k) {
        rows();
        gpu::sum_rows(b, T.cols, T.rows, gpu::runs_along(T.t()), gpu::abs_product<S>{T.t(), u.data(), v.data()});
        b.launch(gpu::one_block(T.cols), gpu::normalize_vector<S>{v.data(), T.cols});
    }
    rows();
}

template <class B, class S>
void do_project_dual(gpu_tag tag, const B& b, magnitude_form form, S leak, matrix_view<const S> L, matrix_view<S> D,
                     matrix_view<S> Z) {
    if (L.size() == 0) return;
    if (form == magnitude_form::row_means && gpu::runs_along(matrix_view<const S>(D)))
        return b.launch(gpu::cover_by_warps(L.rows), gpu::project_row_means<S>{L, D, Z, leak});
    auto u = b.template borrow<S>(L.rows);
    auto v = b.template borrow<S>(L.cols);
    const std::span<S> us(u.data(), static_cast<std::size_t>(L.rows)), vs(v.data(), static_cast<std::size_t>(L.cols));
    do_axpby(tag, b, S(1), L, S(1), D);  // D holds t = L + D from here on
    const bool rank_one = form == magnitude_form::rank_one;
    if (rank_one)
        do_rank1_magnitude(tag, b, matrix_view<const S>(D), us, vs);
    else
        do_abs_row_means(tag, b, matrix_view<const S>(D), us);
    gpu::for_entries<gpu::project_entry<S>>(b, D, Z, gpu::factors<S>{u.data(), rank_one ? v.data() : nullptr}, leak);
}

}  // namespace subbit
