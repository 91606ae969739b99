// What conjugate gradients do besides products, for many systems x G = r at once: one row of each matrix is one system.
// Every operation is one pass over its matrices, with the dot products of a row and what follows from them.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/backend/reference.hpp>

#include <span>

namespace subbit {

/// What is known of each row, in the backend's memory.
template <class S>
struct descent_rows {
    std::span<S> energy;  ///< |r|^2 of the present residual r
    std::span<S> gained;  ///< what all steps took off the objective 1/2 x'Gx - r'x, times 2; grows from solve to solve
    std::span<S> last;    ///< the part of it that was taken by the last step of each solve
};

/// Where a step stands in its solve. The first goes along the residual; the last leaves residual and direction alone.
struct descent_place {
    bool first, last;
};

namespace detail {

template <class S>
void require_rows(const char* operation, descent_rows<S> rows, index n) {
    require_size(operation, std::ssize(rows.energy), n);
    require_size(operation, std::ssize(rows.gained), n);
    require_size(operation, std::ssize(rows.last), n);
}

}  // namespace detail

/// R <- R - Q and rows.energy[i] = |R(i,:)|^2: the residual where Q = X G.
template <class B, class MQ, class MR, class S>
void start_descent(const B& b, const MQ& Q, MR&& R, descent_rows<S> rows) {
    const auto q = const_view(Q);
    const auto r = view(R);
    require_shape("start_descent: Q", q.rows, q.cols, r.rows, r.cols);
    detail::require_rows("start_descent: rows", rows, r.rows);
    do_start_descent(typename B::tag{}, b, q, r, rows);
}

/// One step of every row, with Q = P G for the direction P (R itself in the first step, where P is not read):
/// a = |r|^2 / p'q, x <- x + a p, r <- r - a q, p <- r + (|r|^2 / |r before|^2) p. A row whose p'q is not positive
/// stays where it is. Dot products are accumulated in double.
template <class B, class MQ, class MP, class MR, class MX, class S>
void descend_step(const B& b, descent_place place, const MQ& Q, MP&& P, MR&& R, MX&& X, descent_rows<S> rows) {
    const auto q = const_view(Q);
    const auto p = view(P);
    const auto r = view(R);
    const auto x = view(X);
    require_shape("descend_step: Q", q.rows, q.cols, x.rows, x.cols);
    require_shape("descend_step: P", p.rows, p.cols, x.rows, x.cols);
    require_shape("descend_step: R", r.rows, r.cols, x.rows, x.cols);
    detail::require_rows("descend_step: rows", rows, x.rows);
    do_descend_step(typename B::tag{}, b, place, q, p, r, x, rows);
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
