// The products whose kernels are written for each instruction set, and the solve that is built on them.
#pragma once

#include <subbit/backend/cpu/machine.hpp>
#include <subbit/backend/ops/layers.hpp>
#include <subbit/bits/bit_view.hpp>
#include <subbit/bits/layer_view.hpp>

#include <cstdint>
#include <span>

namespace subbit::cpu_kernels {

/// C = alpha A X + beta C.
template <class S>
void dense_product(const machine& m, matrix_view<const S> A, matrix_view<const S> X, matrix_view<S> C, S alpha, S beta);

/// C = alpha A X + beta C, or alpha A X' + beta C where X is to be transposed.
template <class S>
void sign_product(const machine& m, matrix_view<const S> A, bit_view X, bool transpose, matrix_view<S> C, S alpha,
                  S beta);

/// G = X'X.
template <class S>
void gram_product(const machine& m, matrix_view<const S> X, matrix_view<S> G);

/// R <- R G^-1 where G is positive definite, else false; G holds nothing of use then.
template <class S>
bool solve_positive_definite(const machine& m, matrix_view<S> G, matrix_view<S> R);

/// Each layer of X.
template <class S>
void layer_products(const machine& m, std::span<const layer_output<S>> layers, matrix_view<const S> X,
                    packed_precision wanted);

/// Y = the layer of X.
template <class S>
void path_products(const machine& m, const residual_view<S>& layer, matrix_view<const S> X, matrix_view<S> Y,
                   packed_precision wanted);

/// y = W x, T being 8-bit integers.
template <class T>
void byte_products(const machine& m, matrix_view<const T> W, std::span<const std::int16_t> x,
                   std::span<std::int32_t> y);

}  // namespace subbit::cpu_kernels
