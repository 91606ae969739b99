// The element-wise and reducing operations on the cpu backend: rows shared out in fixed chunks, one pass over memory
// where that is possible.
//
// Sums run in 64-byte lanes and then over the lanes, and chunks' sums are added in order, so that a result depends
// neither on the number of threads nor, but for contraction to FMA, on the instruction set.
#pragma once

#include <subbit/backend/cpu/lanes.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/reference.hpp>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace subbit {

namespace detail {

/// Rows of one chunk: about 16 thousand elements, so that small matrices are not split.
inline index row_grain(index cols) {
    return std::max<index>(4, 16384 / std::max<index>(cols, 1));
}

/// Calls f(Xs...) with the views as they are where all have contiguous rows, transposed where all have contiguous
/// columns; returns false where neither holds.
template <class F, class... V>
bool with_contiguous_rows(F&& f, V... X) {
    if ((X.is_row_major() && ...)) {
        f(X...);
        return true;
    }
    if ((X.t().is_row_major() && ...)) {
        f(X.t()...);
        return true;
    }
    return false;
}

/// sum over chunks of f(begin, end), in the order of the chunks.
template <class B, class F>
double ordered_sum(const B& b, index n, index grain, F&& f) {
    std::vector<double> parts(static_cast<std::size_t>((n + grain - 1) / grain));
    vectorized_for(b, n, grain,
                   [&](index begin, index end) { parts[static_cast<std::size_t>(begin / grain)] = f(begin, end); });
    double sum = 0;
    for (const double part : parts)
        sum += part;
    return sum;
}

struct row_sum_scratch;

/// Sums vectors of `size` over the rows of a matrix: f(begin, end, part) adds rows [begin, end) to its chunk's own
/// part; returns their sum, which is good until this thread's next call.
template <class S, class B, class F>
std::span<const S> ordered_row_sum(const B& b, index rows, index cols, index size, F&& f) {
    const index grain = row_grain(cols), chunks = std::max<index>(1, (rows + grain - 1) / grain);
    S* const parts = thread_scratch<row_sum_scratch>().template reserve<S>(chunks * size);
    std::fill(parts, parts + chunks * size, S(0));
    vectorized_for(b, rows, grain, [&](index begin, index end) { f(begin, end, parts + begin / grain * size); });
    for (index c = 1; c < chunks; ++c)
        for (index j = 0; j < size; ++j)
            parts[j] += parts[c * size + j];
    return {parts, static_cast<std::size_t>(size)};
}

/// One pass of the power iteration over T (n,k), rows contiguous: u = |T| v and w = |T|' u.
template <class B, class S>
void power_pass(const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    const auto w = ordered_row_sum<S>(b, T.rows, T.cols, T.cols, [&](index begin, index end, S* part) {
        for (index i = begin; i < end; ++i) {
            const S* t = T.row(i);
            const S ui = static_cast<S>(lane_abs_dot(t, v.data(), T.cols));
            u[static_cast<std::size_t>(i)] = ui;
            for (index j = 0; j < T.cols; ++j)
                part[j] += ui * std::abs(t[j]);
        }
    });
    std::copy(w.begin(), w.end(), v.begin());
}

/// v <- v / max(|v|, 1e-12); returns what it divided by.
template <class S>
S normalize(std::span<S> v) {
    double square = 0;
    for (const S x : v)
        square += static_cast<double>(x) * static_cast<double>(x);
    const double norm = std::max(std::sqrt(square), 1e-12);
    for (S& x : v)
        x = static_cast<S>(static_cast<double>(x) / norm);
    return static_cast<S>(norm);
}

/// The rank-one magnitudes of T (n,k) with contiguous rows: those of T where `from_columns`, and else those of T'. The
/// same iterates as the reference's, with each pair of products in one pass over T.
template <class B, class S>
void power_iteration(const B& b, matrix_view<const S> T, bool from_columns, std::span<S> u, std::span<S> v) {
    constexpr int power_iterations = 5;
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
            for (index j = 0; j < D.cols; ++j) {
                const S magnitude = ui * v[static_cast<std::size_t>(j)], t = d[j];
                const S projected = t >= S(0) ? magnitude : -magnitude;
                z[j] = projected;
                d[j] = leak * (t - projected);
            }
        }
    });
}

}  // namespace detail

template <class B, class S>
void do_axpby(cpu_tag, const B& b, S alpha, matrix_view<const S> X, S beta, matrix_view<S> Y) {
    const auto run = [&](auto x, auto y) {
        vectorized_for(b, x.rows, detail::row_grain(x.cols), [&](index begin, index end) {
            for (index i = begin; i < end; ++i) {
                const S* from = x.row(i);
                S* to = y.row(i);
                if (beta == S(0))
                    for (index j = 0; j < x.cols; ++j)
                        to[j] = alpha * from[j];
                else
                    for (index j = 0; j < x.cols; ++j)
                        to[j] = alpha * from[j] + beta * to[j];
            }
        });
    };
    if (!detail::with_contiguous_rows(run, X, Y)) do_axpby(reference_tag{}, b, alpha, X, beta, Y);
}

template <class B, class S>
void do_scale(cpu_tag, const B& b, matrix_view<S> X, std::span<const S> left, std::span<const S> right) {
    if (!X.is_row_major()) {
        if (X.row_stride == 1) return do_scale(cpu_tag{}, b, X.t(), right, left);
        return do_scale(reference_tag{}, b, X, left, right);
    }
    vectorized_for(b, X.rows, detail::row_grain(X.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S l = left.empty() ? S(1) : left[static_cast<std::size_t>(i)];
            S* x = X.row(i);
            const S* r = right.data();
            if (right.empty())
                for (index j = 0; j < X.cols; ++j)
                    x[j] *= l;
            else
                for (index j = 0; j < X.cols; ++j)
                    x[j] *= l * r[j];
        }
    });
}

template <class B, class S>
void do_abs_row_means(cpu_tag, const B& b, matrix_view<const S> X, std::span<S> means) {
    if (!X.is_row_major()) return do_abs_row_means(reference_tag{}, b, X, means);
    vectorized_for(b, X.rows, detail::row_grain(X.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i)
            means[static_cast<std::size_t>(i)] =
                static_cast<S>(lane_abs_sum(X.row(i), X.cols) / static_cast<double>(std::max<index>(X.cols, 1)));
    });
}

template <class B, class S>
void do_column_norms(cpu_tag, const B& b, matrix_view<const S> X, std::span<S> norms) {
    if (!X.is_row_major() && X.row_stride == 1) {
        // Columns are contiguous: one norm at a time.
        return vectorized_for(b, X.cols, detail::row_grain(X.rows), [&](index begin, index end) {
            for (index j = begin; j < end; ++j)
                norms[static_cast<std::size_t>(j)] = static_cast<S>(std::sqrt(lane_square_sum(X.t().row(j), X.rows)));
        });
    }
    if (!X.is_row_major()) return do_column_norms(reference_tag{}, b, X, norms);
    const auto squares =
        detail::ordered_row_sum<double>(b, X.rows, X.cols, X.cols, [&](index begin, index end, double* part) {
            for (index i = begin; i < end; ++i) {
                const S* x = X.row(i);
                for (index j = 0; j < X.cols; ++j)
                    part[j] += static_cast<double>(x[j]) * static_cast<double>(x[j]);
            }
        });
    std::transform(squares.begin(), squares.end(), norms.begin(),
                   [](double square) { return static_cast<S>(std::sqrt(square)); });
}

template <class B, class S>
void do_normalize_columns(cpu_tag, const B& b, matrix_view<const S> Z, matrix_view<S> X) {
    if (!Z.is_row_major() || !X.is_row_major()) return do_normalize_columns(reference_tag{}, b, Z, X);
    std::vector<S> inverse(static_cast<std::size_t>(Z.cols));
    do_column_norms(cpu_tag{}, b, Z, std::span<S>(inverse));
    for (S& x : inverse)
        x = x > S(0) ? S(1) / x : S(0);
    vectorized_for(b, Z.rows, detail::row_grain(Z.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S *z = Z.row(i), *scale = inverse.data();
            S* x = X.row(i);
            for (index j = 0; j < Z.cols; ++j)
                x[j] = z[j] * scale[j];
        }
    });
}

template <class B, class S>
void do_rank1_magnitude(cpu_tag, const B& b, matrix_view<const S> T, std::span<S> u, std::span<S> v) {
    if (T.is_row_major())
        detail::power_iteration(b, T, true, u, v);
    else if (T.row_stride == 1)
        detail::power_iteration(b, T.t(), false, v, u);
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
            detail::split_signs(b, leak, std::span<const S>(u), std::span<const S>(v), D, Z);
        else
            detail::split_signs(b, leak, std::span<const S>(v), std::span<const S>(u), D.t(), Z.t());
        return;
    }
    // A row's mean is known once the row was read, and the row is still in the nearest cache: one pass over memory.
    vectorized_for(b, L.rows, detail::row_grain(L.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S* l = L.row(i);
            S *d = D.row(i), *z = Z.row(i);
            lanes<S> sum{};
            for (index j = 0; j < L.cols; j += lanes<S>::count) {
                lanes<S> x, y;
                x.load(l + j, L.cols - j);
                y.load(d + j, L.cols - j);
                x.v += y.v;
                x.store(d + j, L.cols - j);
                sum.v += x.v < 0 ? -x.v : x.v;
            }
            const S mean = static_cast<S>(sum.total() / static_cast<double>(L.cols));
            for (index j = 0; j < L.cols; ++j) {
                const S t = d[j], projected = t >= S(0) ? mean : -mean;
                z[j] = projected;
                d[j] = leak * (t - projected);
            }
        }
    });
}

template <class B, class S>
double do_squared_distance(cpu_tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y) {
    double result = 0;
    const auto run = [&](auto x, auto y) {
        result = detail::ordered_sum(b, x.rows, detail::row_grain(x.cols), [&](index begin, index end) {
            double sum = 0;
            for (index i = begin; i < end; ++i)
                sum += lane_square_distance(x.row(i), y.row(i), x.cols);
            return sum;
        });
    };
    return detail::with_contiguous_rows(run, X, Y) ? result : do_squared_distance(reference_tag{}, b, X, Y);
}

template <class B, class S>
double do_squared_norm(cpu_tag, const B& b, matrix_view<const S> X) {
    double result = 0;
    const auto run = [&](auto x) {
        result = detail::ordered_sum(b, x.rows, detail::row_grain(x.cols), [&](index begin, index end) {
            double sum = 0;
            for (index i = begin; i < end; ++i)
                sum += lane_square_sum(x.row(i), x.cols);
            return sum;
        });
    };
    return detail::with_contiguous_rows(run, X) ? result : do_squared_norm(reference_tag{}, b, X);
}

}  // namespace subbit
