// The rank-one magnitudes of a matrix, with each pair of products of the power iteration in one pass over it.
#pragma once

#include <subbit/backend/cpu/kernels/loops.hpp>
#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/ops/solver.hpp>

#include <algorithm>
#include <cmath>
#include <span>

namespace subbit::cpu_kernels {

/// One pass of the power iteration over T (n,k), rows contiguous: u = |T| v and w = |T|' u.
template <class B, class S>
void power_pass(const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    const auto w = ordered_row_sum<S>(b, T.rows, T.cols, T.cols, [&](index begin, index end, S* part) {
        for (index i = begin; i < end; ++i) {
            const S* t = T.row(i);
            const S ui = static_cast<S>(lane_abs_dot(t, v.data(), T.cols));
            u[static_cast<std::size_t>(i)] = ui;
#pragma omp simd
            for (index j = 0; j < T.cols; ++j)
                part[j] += ui * std::abs(t[j]);
        }
    });
    std::copy(w.begin(), w.end(), v.begin());
}

/// v <- v / max(|v|, least_norm); returns what it divided by.
template <class S>
S normalize(std::span<S> v) {
    double square = 0;
    for (const S x : v)
        square += static_cast<double>(x) * static_cast<double>(x);
    const double norm = std::max(std::sqrt(square), least_norm);
    for (S& x : v)
        x = static_cast<S>(static_cast<double>(x) / norm);
    return static_cast<S>(norm);
}

/// The rank-one magnitudes of T (n,k) with contiguous rows: those of T where `from_columns`, and else those of T'. The
/// same iterates as the reference's, with each pair of products in one pass over T.
template <class B, class S>
void power_iteration(const B& b, matrix_view<const S> T, bool from_columns, std::span<S> u, std::span<S> v) {
    if (from_columns) {
        std::fill(v.begin(), v.end(), S(1) / std::sqrt(static_cast<S>(T.cols)));
        for (int k = 0; k < power_iterations; ++k) {
            power_pass(b, T, u, v);
            normalize(v);
        }
        vectorized_for(b, T.rows, row_grain(T.cols), [&](index begin, index end) {
            for (index i = begin; i < end; ++i)
                u[static_cast<std::size_t>(i)] = static_cast<S>(lane_abs_dot(T.row(i), v.data(), T.cols));
        });
        return;
    }
    const auto sums = ordered_row_sum<S>(b, T.rows, T.cols, T.cols, [&](index begin, index end, S* part) {
        for (index i = begin; i < end; ++i)
            for (index j = 0; j < T.cols; ++j)
                part[j] += std::abs(T.row(i)[j]);
    });
    std::copy(sums.begin(), sums.end(), v.begin());
    for (int k = 0; k < power_iterations; ++k) {
        normalize(v);
        power_pass(b, T, u, v);
    }
    const S norm = normalize(u);
    for (S& x : v)
        x /= norm;
}

/// Z = sign(t) o (u v') and D = leak (t - Z), with t in D; rows contiguous.
template <class B, class S>
void split_signs(const B& b, S leak, std::span<const S> u, std::span<const S> v, matrix_view<S> D, matrix_view<S> Z) {
    vectorized_for(b, D.rows, row_grain(D.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S ui = u[static_cast<std::size_t>(i)];
            S *d = D.row(i), *z = Z.row(i);
#pragma omp simd
            for (index j = 0; j < D.cols; ++j) {
                const S magnitude = ui * v[static_cast<std::size_t>(j)], t = d[j];
                const S projected = t >= S(0) ? magnitude : -magnitude;
                z[j] = projected;
                d[j] = leak * (t - projected);
            }
        }
    });
}

}  // namespace subbit::cpu_kernels
