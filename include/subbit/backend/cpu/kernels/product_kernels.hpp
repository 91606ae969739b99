// Each product of products.hpp by the kernels of the machine.
#pragma once

#include <subbit/backend/cpu/kernels/byte_product.hpp>
#include <subbit/backend/cpu/kernels/dispatch.hpp>
#include <subbit/backend/cpu/kernels/gemm.hpp>
#include <subbit/backend/cpu/kernels/packed_layers.hpp>
#include <subbit/backend/cpu/kernels/packed_product.hpp>
#include <subbit/backend/cpu/kernels/products.hpp>
#include <subbit/backend/cpu/kernels/spd.hpp>

#include <concepts>
#include <cstdint>
#include <span>

namespace subbit::cpu_kernels {

template <class S>
void dense_product(const machine& m, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha,
                   S beta) {
    with_products<S>(
        m, [&](auto arch, auto products) { dense_gemm<decltype(products)>(arch, m.exec(), A, X, C, alpha, beta); });
}

template <class S>
void sign_product(const machine& m, matrix_view<const S> A, bit_view X, bool transpose, matrix_view<S> C, S alpha,
                  S beta) {
#if SUBBIT_X86
    if constexpr (std::same_as<S, float>)
        if (m.products() == precision::bf16 && m.bf16() == bf16_method::matrix_units &&
            A.rows >= amx_kernel::max_vectors && A.cols > 0)
            return blocked_gemm<tile_products>(avx512_arch{}, m.exec(), A.cols,
                                               dense_operand<float>{A.data, A.row_stride, A.col_stride},
                                               bit_operand{X, !transpose}, C, alpha, beta);
#endif
    with_packed_kernel<S>(m, packed_precision::exact, [&](auto arch, auto kernel) {
        packed_gemm<decltype(kernel)>(arch, m.exec(), A, X, !transpose, C, alpha, beta);
    });
}

template <class S>
void gram_product(const machine& m, matrix_view<const S> X, matrix_view<S> G) {
    with_arch(m, [&](auto arch) { blocked_gram<plain_products<S>>(arch, m.exec(), X, G); });
}

template <class S>
bool solve_positive_definite(const machine& m, matrix_view<S> G, matrix_view<S> R) {
    return with_arch(m, [&](auto arch) {
        cholesky_solver<decltype(arch), S> solver(m.exec(), G);
        if (solver.positive()) solver.solve_right(R);
        return solver.positive();
    });
}

template <class S>
void layer_products(const machine& m, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                    packed_precision wanted) {
    with_layer_kernel<S>(m, wanted,
                         [&](auto arch, auto kernel) { packed_layers<decltype(kernel)>(arch, m.exec(), layers, X); });
}

template <class S>
void path_products(const machine& m, const residual_view<S>& layer, matrix_view<const S> X, matrix_view<S> Y,
                   packed_precision wanted) {
    with_layer_kernel<S>(m, wanted,
                         [&](auto arch, auto kernel) { packed_paths<decltype(kernel)>(arch, m.exec(), layer, X, Y); });
}

template <class T>
void byte_products(const machine& m, matrix_view<const T> W, std::span<const std::int16_t> x,
                   std::span<std::int32_t> y) {
    with_byte_kernel(m, [&](auto arch) { byte_product(arch, m.exec(), W, x.data(), y.data()); });
}

}  // namespace subbit::cpu_kernels
