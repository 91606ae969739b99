// The operations of the rooms train and recon on rows of activations: the steps around a layer's products. On the host,
// threads take whole columns of a sum over tokens, and each column is summed in token order, so sums do not depend on
// the number of threads.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <span>
#include <string>

namespace subbit {

namespace detail {

/// shape_error unless the matrix has `rows` x `cols` and contiguous rows.
template <class T>
void require_rows(const char* name, matrix_view<T> X, index rows, index cols) {
    require_shape(name, X.rows, X.cols, rows, cols);
    if (!X.is_row_major()) throw shape_error(std::string(name) + " is stored by columns, expected rows");
}

}  // namespace detail

/// X(t,:) = table(ids[t],:), with ids on the host; rows contiguous. value_error for an id outside the table.
template <class B, class S>
void gather_rows(const B& b, matrix_view<const S> table, std::span<const std::int32_t> ids, matrix_view<S> X) {
    detail::require_rows("gather_rows: X", X, std::ssize(ids), table.cols);
    for (const std::int32_t id : ids)
        if (id < 0 || id >= table.rows)
            throw value_error("token " + std::to_string(id) + " is outside the vocabulary of " +
                              std::to_string(table.rows));
    if constexpr (host_backend<B>)
        do_gather_rows(typename B::tag{}, b, table, ids, X);
    else
        do_gather_rows(typename B::tag{}, b, table, const_span(upload(b, ids)), X);
}

/// The same with ids in the backend's memory, which are not checked.
template <class B, class S>
void gather_known_rows(const B& b, matrix_view<const S> table, std::span<const std::int32_t> ids, matrix_view<S> X) {
    detail::require_rows("gather_known_rows: X", X, std::ssize(ids), table.cols);
    do_gather_rows(typename B::tag{}, b, table, ids, X);
}

/// out(t,c) = X(t,c) factor_c; out may be X.
template <class B, class S>
void scale_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    detail::require_rows("scale_columns: X", X, out.rows, out.cols);
    detail::require_rows("scale_columns: out", out, X.rows, std::ssize(factor));
    do_scale_columns(typename B::tag{}, b, X, factor, out);
}

/// out(t,c) += X(t,c) factor_c.
template <class B, class S>
void add_scaled_columns(const B& b, matrix_view<const S> X, std::span<const S> factor, matrix_view<S> out) {
    detail::require_rows("add_scaled_columns: X", X, out.rows, out.cols);
    detail::require_rows("add_scaled_columns: out", out, X.rows, std::ssize(factor));
    do_add_scaled_columns(typename B::tag{}, b, X, factor, out);
}

/// Y (T, m) = X (T, n) W^T: one pass over W for every row of X, which is faster than gemm for a few rows.
template <class B, class S>
void multiply_rows(const B& b, matrix_view<const S> X, matrix_view<const S> W, matrix_view<S> Y) {
    detail::require_rows("multiply_rows: X", X, Y.rows, W.cols);
    detail::require_rows("multiply_rows: W", W, Y.cols, X.cols);
    do_multiply_rows(typename B::tag{}, b, X, W, Y);
}

/// Y(t,:) += row.
template <class B, class S>
void add_to_rows(const B& b, matrix_view<S> Y, std::span<const S> row) {
    detail::require_rows("add_to_rows: Y", Y, Y.rows, std::ssize(row));
    do_add_to_rows(typename B::tag{}, b, Y, row);
}

/// sums_c = sum_t X(t,c) Y(t,c), in the scalar type.
template <class B, class S>
void token_dots(const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> sums) {
    detail::require_rows("token_dots: X", X, Y.rows, std::ssize(sums));
    detail::require_rows("token_dots: Y", Y, X.rows, X.cols);
    do_token_dots(typename B::tag{}, b, X, Y, sums);
}

/// token_dots(X, Y), followed by scale_columns: X(t,c) <- X(t,c) factor_c.
template <class B, class S>
void token_dots_and_scale(const B& b, matrix_view<S> X, matrix_view<const S> Y, std::span<S> sums,
                          std::span<const S> factor) {
    detail::require_rows("token_dots_and_scale: X", X, Y.rows, std::ssize(sums));
    detail::require_rows("token_dots_and_scale: Y", Y, X.rows, std::ssize(factor));
    do_token_dots_and_scale(typename B::tag{}, b, X, Y, sums, factor);
}

/// sums_c = sum_t X(t,c), in the scalar type.
template <class B, class S>
void token_sums(const B& b, matrix_view<const S> X, std::span<S> sums) {
    detail::require_rows("token_sums: X", X, X.rows, std::ssize(sums));
    do_token_sums(typename B::tag{}, b, X, sums);
}

}  // namespace subbit
