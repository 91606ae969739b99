// The operations of the library's own backends, compiled once for a program of many files: if SUBBIT_COMPILED is
// defined, every file declares them extern, and the target subbit::compiled has their code. Files then see declarations
// alone of kernels and decompositions, for float and double.
#pragma once

#include <subbit/backend/cpu/backend.hpp>
#include <subbit/backend/cpu/dense.hpp>
#include <subbit/backend/cpu/layers.hpp>
#include <subbit/backend/cpu/paths.hpp>
#include <subbit/backend/cpu/products.hpp>
#include <subbit/backend/cpu/solver.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/backend/reference/decompositions.hpp>

/// Operations of which each backend has its own version: KEYWORD is `extern` or empty, TAG the tag of the overload, B
/// the backend, S the scalar.
#define SUBBIT_OPERATION_INSTANCES(KEYWORD, TAG, B, S)                                                              \
    KEYWORD template void do_gemm(TAG, const B&, matrix_view<const S>, matrix_view<const S>, matrix_view<S>, S, S); \
    KEYWORD template void do_gemm(TAG, const B&, matrix_view<const S>, bit_view, matrix_view<S>, S, S);             \
    KEYWORD template void do_gemm(TAG, const B&, matrix_view<const S>, transposed_bit_view, matrix_view<S>, S, S);  \
    KEYWORD template void do_apply_layers(TAG, const B&, std::span<const layer_output<S>>, matrix_view<const S>,    \
                                          apply_options);                                                           \
    KEYWORD template void do_apply_layer(TAG, const B&, const residual_binary_linear<S>&, matrix_view<const S>,     \
                                         matrix_view<S>, apply_options);                                            \
    KEYWORD template void do_gram(TAG, const B&, matrix_view<const S>, matrix_view<S>);                             \
    KEYWORD template void do_spd_solve(TAG, const B&, matrix_view<S>, matrix_view<S>);                              \
    KEYWORD template void do_axpby(TAG, const B&, S, matrix_view<const S>, S, matrix_view<S>);                      \
    KEYWORD template void do_scale(TAG, const B&, matrix_view<S>, std::span<const S>, std::span<const S>);          \
    KEYWORD template void do_column_norms(TAG, const B&, matrix_view<const S>, std::span<S>);                       \
    KEYWORD template void do_normalize_columns(TAG, const B&, matrix_view<const S>, matrix_view<S>);                \
    KEYWORD template void do_rank1_magnitude(TAG, const B&, matrix_view<const S>, std::span<S>, std::span<S>);      \
    KEYWORD template void do_project_dual(TAG, const B&, magnitude_form, S, matrix_view<const S>, matrix_view<S>,   \
                                          matrix_view<S>);                                                          \
    KEYWORD template double do_squared_distance(TAG, const B&, matrix_view<const S>, matrix_view<const S>);         \
    KEYWORD template double do_squared_norm(TAG, const B&, matrix_view<const S>);                                   \
    KEYWORD template void do_scaled_difference(TAG, const B&, std::span<const double>, matrix_view<const S>,        \
                                               matrix_view<const S>, matrix_view<S>);                               \
    KEYWORD template void do_add_square_sums(TAG, const B&, matrix_view<const S>, std::span<const S>,               \
                                             std::span<double>);                                                    \
    KEYWORD template index do_descend_bits(TAG, const B&, matrix_view<const S>, matrix_view<const S>,               \
                                           std::span<const S>, matrix_view<S>, matrix_view<S>);                     \
    KEYWORD template double do_fit_row_scales(TAG, const B&, matrix_view<const S>, matrix_view<S>, matrix_view<S>,  \
                                              std::span<S>);                                                        \
    KEYWORD template void do_couple_paths(TAG, const B&, matrix_view<const S>, std::span<binary_path<S>>);          \
    KEYWORD template void do_expand_paths(TAG, const B&, std::span<const binary_path<S>>, matrix_view<S>);          \
    KEYWORD template void do_path_gradients(TAG, const B&, matrix_view<const S>, std::span<const binary_path<S>>,   \
                                            std::span<vector<S>>, std::span<vector<S>>);

/// The products of kernels/products.hpp, whose kernels only the library sees.
#define SUBBIT_PRODUCT_INSTANCES(KEYWORD, S)                                                                           \
    KEYWORD template void cpu_kernels::dense_product(const cpu_kernels::machine&, matrix_view<const S>,                \
                                                     matrix_view<const S>, matrix_view<S>, S, S);                      \
    KEYWORD template void cpu_kernels::sign_product(const cpu_kernels::machine&, matrix_view<const S>, bit_view, bool, \
                                                    matrix_view<S>, S, S);                                             \
    KEYWORD template void cpu_kernels::gram_product(const cpu_kernels::machine&, matrix_view<const S>,                 \
                                                    matrix_view<S>);                                                   \
    KEYWORD template bool cpu_kernels::solve_positive_definite(const cpu_kernels::machine&, matrix_view<S>,            \
                                                               matrix_view<S>);                                        \
    KEYWORD template void cpu_kernels::layer_products(const cpu_kernels::machine&, std::span<const layer_output<S>>,   \
                                                      matrix_view<const S>, packed_precision);                         \
    KEYWORD template void cpu_kernels::path_products(const cpu_kernels::machine&, const residual_view<S>&,             \
                                                     matrix_view<const S>, matrix_view<S>, packed_precision);

#define SUBBIT_INSTANCES(KEYWORD, S)                                                               \
    SUBBIT_PRODUCT_INSTANCES(KEYWORD, S)                                                           \
    SUBBIT_OPERATION_INSTANCES(KEYWORD, cpu_tag, cpu, S)                                           \
    KEYWORD template void eigenvectors_of(matrix_view<const S>, matrix_view<S>);                   \
    KEYWORD template void solve_symmetric(matrix_view<const S>, matrix_view<S>);                   \
    KEYWORD template void do_spd_solve(reference_tag, const cpu&, matrix_view<S>, matrix_view<S>); \
    SUBBIT_OPERATION_INSTANCES(KEYWORD, reference_tag, reference<S>, S)

/// And the one of 8-bit integers.
#define SUBBIT_BYTE_INSTANCES(KEYWORD)                                                                            \
    KEYWORD template void cpu_kernels::byte_products(const cpu_kernels::machine&, matrix_view<const std::int8_t>, \
                                                     std::span<const std::int16_t>, std::span<std::int32_t>);

namespace subbit {

SUBBIT_INSTANCES(extern, float)
SUBBIT_INSTANCES(extern, double)
SUBBIT_BYTE_INSTANCES(extern)

}  // namespace subbit
