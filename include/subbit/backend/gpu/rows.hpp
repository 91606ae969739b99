// The steps around a layer's products (ops/rows.hpp).
#pragma once

#include <subbit/backend/gpu/dense.hpp>
#include <subbit/backend/gpu/kernels/rows.hpp>
#include <subbit/backend/ops/rows.hpp>

#include <cstdint>
#include <span>

namespace subbit {

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

/// A GPU has no faster kernel for a few rows.
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
