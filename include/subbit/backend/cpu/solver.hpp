// The steps of the solvers (ops/solver.hpp).
#pragma once

#include <subbit/backend/cpu/dense.hpp>
#include <subbit/backend/cpu/kernels/descent.hpp>
#include <subbit/backend/cpu/kernels/rank_one.hpp>
#include <subbit/backend/cpu/products.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/solver.hpp>

#include <cmath>
#include <concepts>
#include <span>
#include <vector>

namespace subbit {

template <class B, std::floating_point S>
void do_spd_solve(cpu_tag, const B& b, matrix_view<S> G, matrix_view<S> R) {
    struct kept;
    const matrix_view<S> original(thread_scratch<kept>().template reserve<S>(G.size()), G.rows, G.cols);
    do_axpby(cpu_tag{}, b, S(1), matrix_view<const S>(G), S(0), original);
    if (cpu_kernels::solve_positive_definite(cpu_kernels::machine(b), G, R)) return;
    as_eigen(G) = as_eigen(original);
    do_spd_solve(reference_tag{}, b, G, R);
}

template <class B, class S>
void do_rank1_magnitude(cpu_tag, const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    if (T.is_row_major())
        cpu_kernels::power_iteration(b, T, true, u, v);
    else if (T.row_stride == 1)
        cpu_kernels::power_iteration(b, T.t(), false, v, u);
    else
        do_rank1_magnitude(reference_tag{}, b, T, u, v);
}

template <class B, class S>
void do_project_dual(cpu_tag, const B& b, magnitude_form form, S leak, matrix_view<const S> L, matrix_view<S> D,
                     matrix_view<S> Z) {
    const bool rank_one = form == magnitude_form::rank_one;
    const bool rows = L.is_row_major() && D.is_row_major() && Z.is_row_major();
    const bool columns = L.row_stride == 1 && D.row_stride == 1 && Z.row_stride == 1;
    if (!rows && !(rank_one && columns)) return do_project_dual(reference_tag{}, b, form, leak, L, D, Z);
    if (rank_one) {
        std::vector<S> u(static_cast<std::size_t>(L.rows)), v(static_cast<std::size_t>(L.cols));
        do_axpby(cpu_tag{}, b, S(1), L, S(1), D);  // D holds t = L + D from here on
        do_rank1_magnitude(cpu_tag{}, b, matrix_view<const S>(D), std::span<S>(u), std::span<S>(v));
        if (rows)
            cpu_kernels::split_signs(b, leak, std::span<const S>(u), std::span<const S>(v), D, Z);
        else
            cpu_kernels::split_signs(b, leak, std::span<const S>(v), std::span<const S>(u), D.t(), Z.t());
        return;
    }
    // A row's mean is known once the row was read, and the row is still in the nearest cache: one pass over memory.
    vectorized_for(b, L.rows, cpu_kernels::row_grain(L.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S* l = L.row(i);
            S *d = D.row(i), *z = Z.row(i);
            lanes<S> sum{};
            for (index j = 0; j < L.cols; j += lanes<S>::count) {
                lanes<S> x, y;
                x.load(l + j, L.cols - j);
                y.load(d + j, L.cols - j);
                x.add(y);
                x.store(d + j, L.cols - j);
                x.make_absolute();
                sum.add(x);
            }
            const S mean = static_cast<S>(sum.total() / static_cast<double>(L.cols));
#pragma omp simd
            for (index j = 0; j < L.cols; ++j) {
                const S t = d[j], projected = t >= S(0) ? mean : -mean;
                z[j] = projected;
                d[j] = leak * (t - projected);
            }
        }
    });
}

template <class B, class S>
index do_descend_bits(cpu_tag, const B& b, matrix_view<const S> C, matrix_view<const S> Q, std::span<const S> scales,
                      matrix_view<S> U, matrix_view<S> F) {
    if (!C.is_row_major() || !Q.is_row_major() || !U.is_row_major() || !F.is_row_major())
        return do_descend_bits(reference_tag{}, b, C, Q, scales, U, F);
    std::vector<S> diagonal(static_cast<std::size_t>(U.cols));
    for (index j = 0; j < U.cols; ++j)
        diagonal[static_cast<std::size_t>(j)] = Q(j, j);
    std::vector<index> flips(static_cast<std::size_t>(U.rows));
    vectorized_for(b, U.rows, 8, [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            flips[static_cast<std::size_t>(i)] =
                cpu_kernels::descend_row(C.row(i), Q.data, Q.row_stride, diagonal.data(),
                                         scales[static_cast<std::size_t>(i)], U.row(i), F.row(i), U.cols);
    });
    index total = 0;
    for (const index row : flips)
        total += row;
    return total;
}

template <class B, class S>
double do_fit_row_scales(cpu_tag, const B& b, matrix_view<const S> C, matrix_view<S> U, matrix_view<S> F,
                         std::span<S> scales) {
    if (!C.is_row_major() || !U.is_row_major() || !F.is_row_major())
        return do_fit_row_scales(reference_tag{}, b, C, U, F, scales);
    return cpu_kernels::ordered_sum(b, U.rows, cpu_kernels::row_grain(U.cols), [&](index begin, index end) {
        double explained = 0;
        for (index i = begin; i < end; ++i) {
            S *u = U.row(i), *f = F.row(i);
            const double overlap = lane_dot(C.row(i), u, U.cols), energy = lane_dot(f, u, U.cols);
            if (overlap < 0)
#pragma omp simd
                for (index j = 0; j < U.cols; ++j) {
                    u[j] = -u[j];
                    f[j] = -f[j];
                }
            const double a = energy > 0 ? std::abs(overlap) / energy : 0.0;
            scales[static_cast<std::size_t>(i)] = static_cast<S>(a);
            explained += a * std::abs(overlap);
        }
        return explained;
    });
}

}  // namespace subbit
