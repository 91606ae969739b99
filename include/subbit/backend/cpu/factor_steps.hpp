// The factor and calib rooms' own operations (factor_operations.hpp) on the cpu backend.
#pragma once

#include <subbit/backend/cpu/elementwise.hpp>

#include <cstdint>

namespace subbit {

template <class B, class S>
void do_scaled_difference(cpu_tag, const B& b, std::span<const double> alpha, matrix_view<const S> X,
                          matrix_view<const S> Y, matrix_view<S> R) {
    const S by = static_cast<S>(alpha[0]);
    const auto run = [&](auto x, auto y, auto r) {
        vectorized_for(b, x.rows, detail::row_grain(x.cols), [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                const S *from = x.row(i), *minus = y.row(i);
                S* to = r.row(i);
                for (index j = 0; j < x.cols; ++j)
                    to[j] = by * (from[j] - minus[j]);
            }
        });
    };
    if (!detail::with_contiguous_rows(run, X, Y, R)) do_scaled_difference(reference_tag{}, b, alpha, X, Y, R);
}

template <class B, class S>
void do_add_square_sums(cpu_tag, const B& b, matrix_view<const S> X, std::span<const S> weights,
                        std::span<double> sums) {
    if (!X.is_row_major()) return do_add_square_sums(reference_tag{}, b, X, weights, sums);
    const auto squares =
        detail::ordered_row_sum<double>(b, X.rows, X.cols, X.cols, [&](index begin, index end, double* part) {
            for (index t = begin; t < end; ++t) {
                const double weight = static_cast<double>(weights[static_cast<std::size_t>(t)]);
                const S* x = X.row(t);
                for (index j = 0; j < X.cols; ++j) {
                    const double clipped = weight * static_cast<double>(x[j]);
                    part[j] += clipped * clipped;
                }
            }
        });
    for (std::size_t j = 0; j < sums.size(); ++j)
        sums[j] += squares[j];
}

namespace detail {

/// True where any of the n costs u (c - a f) + a q at the pointers is negative; n is at most one register.
template <class S>
[[gnu::always_inline]] inline bool any_flip(const S* u, const S* c, const S* f, const S* q, S a, index n) {
    lanes<S> uu, cc, ff, qq;
    uu.load(u, n);
    cc.load(c, n);
    ff.load(f, n);
    qq.load(q, n);
    const auto flips = uu.v * (cc.v - a * ff.v) + a * qq.v < 0;
    std::uint64_t words[8], any = 0;
    std::memcpy(words, &flips, 64);
    for (const std::uint64_t word : words)
        any |= word;
    return any != 0;
}

/// The sweep over one row of k bits. Few bits flip, so whole registers are skipped at once; a flip moves the field by
/// one row of Q.
template <class S>
[[gnu::always_inline]] inline index descend_row(const S* c, const S* Q, index q_stride, const S* diagonal, S a, S* u,
                                                S* f, index k) {
    index flips = 0;
    for (index j = 0; j < k; j += lanes<S>::count) {
        if (!any_flip(u + j, c + j, f + j, diagonal + j, a, k - j)) continue;
        for (index l = j; l < std::min(k, j + lanes<S>::count); ++l) {
            if (u[l] * (c[l] - a * f[l]) + a * diagonal[l] >= S(0)) continue;
            u[l] = -u[l];
            lane_axpy(2 * u[l], Q + l * q_stride, f, k);
            ++flips;
        }
    }
    return flips;
}

}  // namespace detail

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
                detail::descend_row(C.row(i), Q.data, Q.row_stride, diagonal.data(),
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
    return detail::ordered_sum(b, U.rows, detail::row_grain(U.cols), [&](index begin, index end) {
        double explained = 0;
        for (index i = begin; i < end; ++i) {
            S *u = U.row(i), *f = F.row(i);
            const double overlap = lane_dot(C.row(i), u, U.cols), energy = lane_dot(f, u, U.cols);
            if (overlap < 0)
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
