// Dense products, entries, rows and sums (ops/dense.hpp).
#pragma once

#include <subbit/backend/gpu/kernels/bits.hpp>
#include <subbit/backend/gpu/kernels/elementwise.hpp>
#include <subbit/backend/gpu/kernels/products.hpp>
#include <subbit/backend/gpu/kernels/reductions.hpp>
#include <subbit/backend/gpu/packed/products.hpp>
#include <subbit/backend/ops/dense.hpp>

#include <algorithm>
#include <span>

namespace subbit {

/// The same 32-bit numbers as on the host; their logarithm and cosine are the device's, so some floats differ in their
/// last bit.
template <class B, class S>
void do_fill_normal(gpu_tag, const B& b, const random_stream& stream, matrix_view<S> X) {
    if (X.size() > 0) b.launch(gpu::cover(X.size()), gpu::entries<gpu::normal_entry<S>>{X.rows, X.cols, {X, stream}});
}

template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C,
             S alpha, S beta) {
    gpu::product(b, A, X, C, alpha, beta, gpu::product_precision::fast);
}

/// The bits may be in the memory of the host or of the device.
template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, transposed_bit_view X, matrix_view<S> C,
             S alpha, S beta) {
    gpu::packed_gemm(b, A, gpu::device_bits<Device>(b, X.t()).view(), C, alpha, beta);
}

template <class Device, class S>
void do_gemm(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> A, bit_view X, matrix_view<S> C, S alpha,
             S beta) {
    const gpu::device_bits<Device> bits(b, X);
    gpu::packed_gemm(b, A, gpu::transpose_bits(b, bits.view()).view(), C, alpha, beta);
}

/// Always in full precision: a solve amplifies the rounding errors of its Gram matrix.
template <class Device, class S>
void do_gram(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X, matrix_view<S> G) {
    gpu::product(b, X.t(), X, G, S(1), S(0), gpu::product_precision::full);
}

template <class Device, class S>
void do_rounded_gram(gpu_tag, const gpu_backend<Device>& b, matrix_view<const S> X, matrix_view<S> G) {
    gpu::product(b, X.t(), X, G, S(1), S(0), gpu::product_precision::fast);
}

template <class B, class S>
void do_scale(gpu_tag, const B& b, matrix_view<S> X, std::span<const S> left, std::span<const S> right) {
    gpu::for_entries<gpu::scale_entry<S>>(b, X, gpu::factors<S>{left.data(), right.data()});
}

template <class B, class S>
void do_axpby(gpu_tag, const B& b, S alpha, matrix_view<const S> X, S beta, matrix_view<S> Y) {
    gpu::for_entries<gpu::axpby_entry<S>>(b, Y, X, alpha, beta);
}

template <class B, class S>
void do_scaled_difference(gpu_tag, const B& b, std::span<const double> alpha, matrix_view<const S> X,
                          matrix_view<const S> Y, matrix_view<S> R) {
    gpu::for_entries<gpu::difference_entry<S>>(b, R, X, Y, alpha.data());
}

template <class B, class S>
void do_hadamard(gpu_tag, const B& b, matrix_view<const S> X, matrix_view<S> Y) {
    gpu::for_entries<gpu::hadamard_entry<S>>(b, Y, X);
}

template <class B, class S>
void do_copy_signs(gpu_tag, const B& b, matrix_view<const S> source, matrix_view<S> X) {
    gpu::for_entries<gpu::copy_sign_entry<S>>(b, X, source);
}

template <class B, class S>
void do_take_signs(gpu_tag, const B& b, matrix_view<S> X) {
    gpu::for_entries<gpu::sign_entry<S>>(b, X);
}

template <class B, class S>
void do_shift_diagonal(gpu_tag, const B& b, S lambda, matrix_view<S> G) {
    const index n = std::min(G.rows, G.cols);
    if (n > 0) b.launch(gpu::cover(n), gpu::entries<gpu::diagonal_entry<S>>{1, n, {G, lambda}});
}

template <class B, class S>
void do_abs_row_means(gpu_tag, const B& b, matrix_view<const S> X, std::span<S> means) {
    gpu::sum_rows(b, X.rows, X.cols, gpu::runs_along(X), gpu::abs_mean<S>{X, means.data()});
}

template <class B, class S>
void do_column_norms(gpu_tag, const B& b, matrix_view<const S> X, std::span<S> norms) {
    gpu::sum_rows(b, X.cols, X.rows, gpu::runs_along(X.t()), gpu::row_norm<S>{X.t(), norms.data()});
}

template <class B, class S>
void do_normalize_columns(gpu_tag, const B& b, matrix_view<const S> Z, matrix_view<S> X) {
    auto inverse = b.template scratch<S>(Z.cols);
    gpu::sum_rows(b, Z.cols, Z.rows, gpu::runs_along(Z.t()), gpu::inverse_norm<S>{{Z.t(), inverse.data()}});
    if (Z.size() > 0 && gpu::runs_along(Z) && !gpu::runs_along(matrix_view<const S>(X))) {
        gpu::launch_shape shape = gpu::cover(Z.size() / 4);
        shape.shared_bytes = gpu::scaled_turn<S>::shared_bytes;
        return b.launch(shape, gpu::scaled_turn<S>{Z, X, inverse.data()});
    }
    gpu::for_entries<gpu::scaled_copy_entry<S>>(b, X, Z, gpu::factors<S>{nullptr, inverse.data()});
}

template <class B, class S>
void do_column_dots(gpu_tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y, std::span<S> dots) {
    gpu::sum_rows(b, X.cols, X.rows, gpu::runs_along(X.t()), gpu::row_dot<S>{X.t(), Y.t(), dots.data()});
}

template <class B, class S>
void do_add_square_sums(gpu_tag, const B& b, matrix_view<const S> X, std::span<const S> weights,
                        std::span<double> sums) {
    gpu::sum_rows(b, X.cols, X.rows, gpu::runs_along(X.t()),
                  gpu::weighted_square<S>{X.t(), weights.data(), sums.data()});
}

template <class B, class S>
double do_squared_distance(gpu_tag, const B& b, matrix_view<const S> X, matrix_view<const S> Y) {
    if (!gpu::runs_along(X)) return do_squared_distance(gpu_tag{}, b, X.t(), Y.t());
    return gpu::sum_all(b, X.rows, X.cols, gpu::squared_difference<S>{X, Y});
}

template <class B, class S>
double do_squared_norm(gpu_tag, const B& b, matrix_view<const S> X) {
    if (!gpu::runs_along(X)) return do_squared_norm(gpu_tag{}, b, X.t());
    return gpu::sum_all(b, X.rows, X.cols, gpu::squared_difference<S>{X, {}});
}

template <class B, class S>
double do_trace(gpu_tag, const B& b, matrix_view<const S> G) {
    return gpu::sum_all(b, 1, std::min(G.rows, G.cols), gpu::diagonal_value<S>{G});
}

}  // namespace subbit
