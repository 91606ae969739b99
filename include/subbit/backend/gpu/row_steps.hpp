// The steps around a layer's products (row_operations.hpp).
#pragma once

#include <subbit/backend/gpu/elementwise.hpp>
#include <subbit/backend/gpu/products.hpp>
#include <subbit/backend/gpu/reductions.hpp>

#include <cstdint>
#include <span>

namespace subbit {

namespace gpu {

/// X(t,:) = table(ids[t],:).
template <class S>
struct gather_entry {
    matrix_view<S> X;
    matrix_view<const S> table;
    const std::int32_t* ids;

    SUBBIT_KERNEL void operator()(index t, index c) const { X(t, c) = table(ids[t], c); }
};

template <class S>
struct add_scaled_entry {
    matrix_view<S> out;
    matrix_view<const S> X;
    const S* factor;

    SUBBIT_KERNEL void operator()(index t, index c) const { out(t, c) += X(t, c) * factor[c]; }
};

template <class S>
struct add_bias_entry {
    matrix_view<S> Y;
    const S* row;

    SUBBIT_KERNEL void operator()(index t, index c) const { Y(t, c) += row[c]; }
};

/// X(t,c) Y(t,c), to the sum of column c; X is scaled on the way.
template <class S>
struct dot_and_scale {
    matrix_view<S> X;
    matrix_view<const S> Y;
    S* sums;
    const S* factor;

    SUBBIT_KERNEL double operator()(index c, index t) const {
        const S x = X(t, c);
        X(t, c) = x * factor[c];
        return static_cast<double>(x) * static_cast<double>(Y(t, c));
    }
    SUBBIT_KERNEL void store(index c, double sum) const { sums[c] = static_cast<S>(sum); }
};

/// X(i,j), to the sum.
template <class S>
struct plain_value {
    matrix_view<const S> X;
    S* sums;

    SUBBIT_KERNEL double operator()(index i, index j) const { return static_cast<double>(X(i, j)); }
    SUBBIT_KERNEL void store(index i, double sum) const { sums[i] = static_cast<S>(sum); }
};

/// Launches f over all entries of a matrix whose rows are contiguous.
template <class F, class B>
void for_row_entries(const B& b, index rows, index cols, const F& f) {
    if (rows * cols > 0) b.launch(cover(rows * cols), entries<F>{rows, cols, f});
}

}  // namespace gpu

template <class B, class S>
void do_gather_rows(gpu_tag, const B& b, matrix_view<const S> table, std::span<const std::int32_t> ids,
                    matrix_view<S> X) {
    gpu::for_row_entries(b, X.rows, X.cols, gpu::gather_entry<S>{X, table, ids.data()});
}

template <class B, class S>
void do_scale_columns(gpu_tag, const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    gpu::for_row_entries(b, X.rows, X.cols, gpu::scaled_copy_entry<S>{out, X, {nullptr, factor.data()}});
}

template <class B, class S>
void do_add_scaled_columns(gpu_tag, const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    gpu::for_row_entries(b, X.rows, X.cols, gpu::add_scaled_entry<S>{out, X, factor.data()});
}

/// A GPU has no faster way for a few rows.
template <class B, class S>
void do_multiply_rows(gpu_tag tag, const B& b, matrix_view<const S> X, matrix_view<const S> W, matrix_view<S> Y) {
    do_gemm(tag, b, X, W.t(), Y, S(1), S(0));
}

template <class B, class S>
void do_add_to_rows(gpu_tag, const B& b, matrix_view<S> Y, std::span<const S> row) {
    gpu::for_row_entries(b, Y.rows, Y.cols, gpu::add_bias_entry<S>{Y, row.data()});
}

template <class B, class S>
void do_token_dots(gpu_tag tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> sums) {
    do_column_dots(tag, b, X, Y, sums);
}

template <class B, class S>
void do_token_dots_and_scale(gpu_tag, const B& b, matrix_view<S> X, matrix_view<const S> Y, std::span<S> sums,
                             std::span<const S> factor) {
    gpu::sum_rows(b, X.cols, X.rows, false, gpu::dot_and_scale<S>{X, Y, sums.data(), factor.data()});
}

template <class B, class S>
void do_token_sums(gpu_tag, const B& b, matrix_view<const S> X, std::span<S> sums) {
    gpu::sum_rows(b, X.cols, X.rows, false, gpu::plain_value<S>{X.t(), sums.data()});
}

}  // namespace subbit
