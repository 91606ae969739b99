// The steps of the solvers by Eigen and plain loops (ops/solver.hpp).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/solver.hpp>
#include <subbit/backend/reference/decompositions.hpp>
#if !defined(SUBBIT_COMPILED)
#include <subbit/backend/reference/eigen_decompositions.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

namespace subbit {

template <class B, class S>
void do_spd_solve(reference_tag, const B&, matrix_view<S> G, matrix_view<S> R) {
    solve_symmetric(matrix_view<const S>(G), R);
}

template <class B, class S>
void do_regularize(reference_tag, const B& b, std::span<const double> penalty, double least, matrix_view<S> G) {
    const double mean = trace(b, G) / static_cast<double>(G.rows);
    shift_diagonal(b, std::max(penalty[0] * mean + penalty[1], least), G);
}

/// |T| ~ u v^T by power iteration from ones. |T| is non-negative, so its leading vectors are too (Perron-Frobenius) and
/// the positive start cannot be orthogonal to them.
template <class B, class S>
void do_rank1_magnitude(reference_tag, const B&, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    const matrix<S> magnitude = as_eigen(T).cwiseAbs();
    Eigen::Map<vector<S>> um(u.data(), T.rows), vm(v.data(), T.cols);
    const S tiny = static_cast<S>(least_norm);
    vm.setConstant(S(1) / std::sqrt(static_cast<S>(T.cols)));
    for (int k = 0; k < power_iterations; ++k) {
        um = magnitude * vm;
        um /= std::max(um.norm(), tiny);
        vm = magnitude.transpose() * um;
        vm /= std::max(vm.norm(), tiny);
    }
    um = magnitude * vm;  // |um| is the singular value
}

template <class B, class S>
void do_project_dual(reference_tag tag, const B& b, magnitude_form form, S leak, matrix_view<const S> L,
                     matrix_view<S> D, matrix_view<S> Z) {
    std::vector<S> u(static_cast<std::size_t>(L.rows)), v(static_cast<std::size_t>(L.cols), S(1));
    do_axpby(tag, b, S(1), L, S(1), D);  // D holds t = L + D from here on
    const matrix_view<const S> t = D;
    if (form == magnitude_form::rank_one)
        do_rank1_magnitude(typename B::tag{}, b, t, std::span<S>(u), std::span<S>(v));
    else
        do_abs_row_means(typename B::tag{}, b, t, std::span<S>(u));
    for (index i = 0; i < L.rows; ++i)
        for (index j = 0; j < L.cols; ++j) {
            const S magnitude = u[static_cast<std::size_t>(i)] * v[static_cast<std::size_t>(j)];
            Z(i, j) = D(i, j) >= S(0) ? magnitude : -magnitude;
            D(i, j) = leak * (D(i, j) - Z(i, j));
        }
}

template <class B, class S>
index do_descend_bits(reference_tag, const B&, matrix_view<const S> C, matrix_view<const S> Q,
                      std::span<const S> scales, matrix_view<S> U, matrix_view<S> F) {
    index flips = 0;
    for (index i = 0; i < U.rows; ++i) {
        const S a = scales[static_cast<std::size_t>(i)];
        for (index j = 0; j < U.cols; ++j) {
            if (U(i, j) * (C(i, j) - a * F(i, j)) + a * Q(j, j) >= S(0)) continue;
            U(i, j) = -U(i, j);
            for (index l = 0; l < U.cols; ++l)
                F(i, l) += 2 * U(i, j) * Q(j, l);
            ++flips;
        }
    }
    return flips;
}

template <class B, class S>
double do_fit_row_scales(reference_tag, const B&, matrix_view<const S> C, matrix_view<S> U, matrix_view<S> F,
                         std::span<S> scales) {
    double explained = 0;
    for (index i = 0; i < U.rows; ++i) {
        const auto u = as_eigen(U).row(i).template cast<double>();
        const double overlap = u.dot(as_eigen(C).row(i).template cast<double>());
        const double energy = u.dot(as_eigen(F).row(i).template cast<double>());
        if (overlap < 0) {
            as_eigen(U).row(i) *= S(-1);
            as_eigen(F).row(i) *= S(-1);
        }
        const double a = energy > 0 ? std::abs(overlap) / energy : 0.0;
        scales[static_cast<std::size_t>(i)] = static_cast<S>(a);
        explained += a * std::abs(overlap);
    }
    return explained;
}

template <class B, class S>
void do_symmetric_eigenvectors(reference_tag, const B&, matrix_view<const S> G, matrix_view<S> V) {
    eigenvectors_of(G, V);
}

template <class B, class S>
void do_start_descent(reference_tag, const B&, matrix_view<const S> Q, matrix_view<S> R, descent_rows<S> rows) {
    as_eigen(R) -= as_eigen(Q);
    for (index i = 0; i < R.rows; ++i)
        rows.energy[static_cast<std::size_t>(i)] =
            static_cast<S>(as_eigen(R).row(i).template cast<double>().squaredNorm());
}

template <class B, class S>
void do_descend_step(reference_tag, const B&, descent_place place, matrix_view<const S> Q, matrix_view<S> P,
                     matrix_view<S> R, matrix_view<S> X, descent_rows<S> rows) {
    for (index i = 0; i < X.rows; ++i) {
        const auto row = static_cast<std::size_t>(i);
        auto p = as_eigen(P).row(i), r = as_eigen(R).row(i), x = as_eigen(X).row(i);
        const auto q = as_eigen(Q).row(i);
        if (place.first) p = r;
        const auto before = static_cast<double>(rows.energy[row]);
        const double curvature = p.template cast<double>().dot(q.template cast<double>());
        const double a = curvature > 0 ? before / curvature : 0.0;
        x += static_cast<S>(a) * p;
        rows.gained[row] += static_cast<S>(a * before);
        if (place.last) {
            rows.last[row] += static_cast<S>(a * before);
            continue;
        }
        r -= static_cast<S>(a) * q;
        const double after = r.template cast<double>().squaredNorm();
        p = r + static_cast<S>(before > 0 ? after / before : 0.0) * p;
        rows.energy[row] = static_cast<S>(after);
    }
}

}  // namespace subbit
