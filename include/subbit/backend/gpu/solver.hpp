// The steps of the solvers (ops/solver.hpp). Only what returns a number waits for the device.
#pragma once

#include <subbit/backend/gpu/dense.hpp>
#include <subbit/backend/gpu/kernels/conjugate.hpp>
#include <subbit/backend/gpu/kernels/descent.hpp>
#include <subbit/backend/gpu/kernels/lu.hpp>
#include <subbit/backend/gpu/kernels/rank_one.hpp>
#include <subbit/backend/gpu/kernels/reductions.hpp>
#include <subbit/backend/ops/solver.hpp>
#include <subbit/core/finite.hpp>

#include <cmath>
#include <span>

namespace subbit {

namespace gpu {

/// X(i,j) = Y(i,j), from one scalar type to another.
template <class To, class From>
struct convert_entry {
    matrix_view<To> X;
    matrix_view<const From> Y;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = static_cast<To>(Y(i, j)); }
};

}  // namespace gpu

/// Cholesky, or LU if that fails: the device decides, so that the host need not wait. For a singular G the next call
/// that waits throws.
template <class Device, class S>
void do_spd_solve(gpu_tag tag, const gpu_backend<Device>& b, matrix_view<S> G, matrix_view<S> R) {
    const index n = G.rows;
    if (R.size() == 0) return;
    if (!R.is_contiguous()) {
        gpu::device_matrix<Device, S> packed(b.device(), R.rows, R.cols);
        do_axpby(tag, b, S(1), matrix_view<const S>(R), S(0), view(packed));
        do_spd_solve(tag, b, G, view(packed));
        return do_axpby(tag, b, S(1), matrix_view<const S>(view(packed)), S(0), R);
    }
    gpu::device_matrix<Device, S> factor(b.device(), n, n);
    auto pivots = b.template scratch<index>(n);
    auto info = b.template scratch<int>(1);
    int* const singular = b.device().singular();
    do_axpby(tag, b, S(1), matrix_view<const S>(G), S(0), view(factor));
    b.device().cholesky(n, view(factor).data, info.data());
    gpu::launch_shape alone = gpu::one_block(n * n);
    alone.shared_bytes = sizeof(index);
    b.launch(alone, gpu::lu_factor<S>{G, view(factor), pivots.data(), info.data(), singular});
    // A row of R is a column to LAPACK, and G is symmetric: R G^-1 = (G^-1 R')'.
    b.device().cholesky_solve(n, R.rows, matrix_view<const S>(view(factor)).data, R.data);
    b.launch(gpu::cover_by_warps(R.rows), gpu::lu_solve<S>{G, R, pivots.data(), info.data(), singular});
}

template <class Device, class S>
void do_symmetric_eigenvectors(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> G, matrix_view<S> V) {
    const index n = G.rows;
    if (n == 0) return;
    gpu::device_matrix<Device, double> vectors(b.device(), n, n);
    auto info = b.template scratch<int>(1);
    b.launch(gpu::cover(n * n), gpu::entries<gpu::convert_entry<double, S>>{n, n, {view(vectors), G}});
    const bool finite = is_finite(do_squared_norm(gpu_tag{}, b, G));
    int failed = 1;
    if (finite) {
        b.device().eigenvectors(n, view(vectors).data, info.data());
        b.device().copy_to_host(&failed, info.data(), sizeof(int));
    }
    if (failed != 0) throw value_error("symmetric_eigenvectors: G (" + shape_text(n, n) + ") did not converge");
    // By columns and by rising eigenvalue: column j of V is row n - 1 - j of what lies there.
    const matrix_view<const double> falling(view(vectors).data + (n - 1) * n, n, n, 1, -n);
    b.launch(gpu::cover(n * n), gpu::entries<gpu::convert_entry<S, double>>{n, n, {V, falling}});
}

template <class B, class S>
void do_regularize(gpu_tag, const B& b, std::span<const double> penalty, double least, matrix_view<S> G) {
    if (G.rows > 0) b.launch(gpu::one_block(G.rows), gpu::add_ridge<S>{G, penalty.data(), least});
}

/// Only v is normalized within the iteration: a factor of u is removed again by v's norm.
template <class B, class S>
void do_rank1_magnitude(gpu_tag, const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    if (T.size() == 0) return;
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
    const bool along = gpu::runs_along(matrix_view<const S>(D));
    if (form == magnitude_form::rank_one) {
        if (along) return gpu::project_rank_one_rows(b, false, leak, L, D, Z);
        return gpu::project_rank_one_rows(b, true, leak, L.t(), D.t(), Z.t());
    }
    if (along) return b.launch(gpu::cover_by_warps(L.rows), gpu::project_row_means<S>{L, D, Z, leak});
    auto u = b.template scratch<S>(L.rows);
    do_axpby(tag, b, S(1), L, S(1), D);  // D holds t = L + D from here on
    do_abs_row_means(tag, b, matrix_view<const S>(D), std::span<S>(u.data(), static_cast<std::size_t>(L.rows)));
    gpu::for_entries<gpu::project_entry<S>>(b, D, Z, gpu::factors<S>{u.data(), nullptr}, leak);
}

template <class B, class S>
index do_descend_bits(gpu_tag, const B& b, matrix_view<const S> C, matrix_view<const S> Q, std::span<const S> scales,
                      matrix_view<S> U, matrix_view<S> F) {
    if (U.size() == 0) return 0;
    auto flips = b.template scratch<double>(U.rows);
    b.launch(gpu::cover_by_warps(U.rows), gpu::descend_rows<S>{C, Q, scales.data(), U, F, flips.data()});
    return static_cast<index>(gpu::sum_all(b, 1, U.rows, gpu::array_value{flips.data()}));
}

template <class B, class S>
double do_fit_row_scales(gpu_tag, const B& b, matrix_view<const S> C, matrix_view<S> U, matrix_view<S> F,
                         std::span<S> scales) {
    if (U.rows == 0) return 0;
    auto explained = b.template scratch<double>(U.rows);
    b.launch(gpu::cover_by_warps(U.rows), gpu::fit_scales_of_rows<S>{C, U, F, scales.data(), explained.data()});
    return gpu::sum_all(b, 1, U.rows, gpu::array_value{explained.data()});
}

template <class B, class S>
void do_start_descent(gpu_tag, const B& b, matrix_view<const S> Q, matrix_view<S> R, descent_rows<S> rows) {
    if (R.size() > 0)
        b.launch(gpu::cover_by_blocks(R.rows, R.cols), gpu::residual_of_rows<S>{Q, R, rows.energy.data()});
}

template <class B, class S>
void do_descend_step(gpu_tag, const B& b, descent_place place, matrix_view<const S> Q, matrix_view<S> P,
                     matrix_view<S> R, matrix_view<S> X, descent_rows<S> rows) {
    if (X.size() > 0)
        b.launch(gpu::cover_by_blocks(X.rows, X.cols),
                 gpu::conjugate_step<S>{place, Q, P, R, X, rows.energy.data(), rows.gained.data(), rows.last.data()});
}

}  // namespace subbit
