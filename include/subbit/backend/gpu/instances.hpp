// The operations of gpu_backend, compiled once for a program of several files: if SUBBIT_COMPILED_GPU is defined, a
// file that includes emulated.hpp or cuda.cuh sees their declarations alone, and one file of the program holds their
// kernels by SUBBIT_GPU_INSTANCES(, backend, S) for S = float and double.
#pragma once

#include <subbit/backend/gpu/bytes.hpp>
#include <subbit/backend/gpu/dense.hpp>
#include <subbit/backend/gpu/layers.hpp>
#include <subbit/backend/gpu/memory.hpp>
#include <subbit/backend/gpu/paths.hpp>
#include <subbit/backend/gpu/rows.hpp>
#include <subbit/backend/gpu/solver.hpp>
#include <subbit/backend/gpu/train.hpp>

/// KEYWORD is `extern` or empty, B the backend, S the scalar.
#define SUBBIT_GPU_INSTANCES(KEYWORD, B, S)    \
    SUBBIT_GPU_DENSE_INSTANCES(KEYWORD, B, S)  \
    SUBBIT_GPU_SOLVER_INSTANCES(KEYWORD, B, S) \
    SUBBIT_GPU_ROW_INSTANCES(KEYWORD, B, S)    \
    SUBBIT_GPU_TRAIN_INSTANCES(KEYWORD, B, S)  \
    SUBBIT_GPU_LAYER_INSTANCES(KEYWORD, B, S)

#define SUBBIT_GPU_DENSE_INSTANCES(KEYWORD, B, S)                                                                      \
    KEYWORD template void do_fill_normal(gpu_tag, const B&, const random_stream&, matrix_view<S>);                     \
    KEYWORD template void do_fill(gpu_tag, const B&, S, matrix_view<S>);                                               \
    KEYWORD template void do_gemm(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>, matrix_view<S>, S,    \
                                  S);                                                                                  \
    KEYWORD template void do_gemm(gpu_tag, const B&, matrix_view<const S>, bit_view, matrix_view<S>, S, S);            \
    KEYWORD template void do_gemm(gpu_tag, const B&, matrix_view<const S>, transposed_bit_view, matrix_view<S>, S, S); \
    KEYWORD template void do_gram(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);                            \
    KEYWORD template void do_rounded_gram(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);                    \
    KEYWORD template void do_scale(gpu_tag, const B&, matrix_view<S>, std::span<const S>, std::span<const S>);         \
    KEYWORD template void do_axpby(gpu_tag, const B&, S, matrix_view<const S>, S, matrix_view<S>);                     \
    KEYWORD template void do_scaled_difference(gpu_tag, const B&, std::span<const double>, matrix_view<const S>,       \
                                               matrix_view<const S>, matrix_view<S>);                                  \
    KEYWORD template void do_hadamard(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);                        \
    KEYWORD template void do_copy_signs(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);                      \
    KEYWORD template void do_take_signs(gpu_tag, const B&, matrix_view<S>);                                            \
    KEYWORD template void do_shift_diagonal(gpu_tag, const B&, S, matrix_view<S>);                                     \
    KEYWORD template void do_abs_row_means(gpu_tag, const B&, matrix_view<const S>, std::span<S>);                     \
    KEYWORD template void do_column_norms(gpu_tag, const B&, matrix_view<const S>, std::span<S>);                      \
    KEYWORD template void do_normalize_columns(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);               \
    KEYWORD template void do_column_dots(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>, std::span<S>); \
    KEYWORD template void do_add_square_sums(gpu_tag, const B&, matrix_view<const S>, std::span<const S>,              \
                                             std::span<double>);                                                       \
    KEYWORD template double do_squared_distance(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>);        \
    KEYWORD template double do_squared_norm(gpu_tag, const B&, matrix_view<const S>);                                  \
    KEYWORD template double do_trace(gpu_tag, const B&, matrix_view<const S>);

#define SUBBIT_GPU_SOLVER_INSTANCES(KEYWORD, B, S)                                                                     \
    KEYWORD template void do_spd_solve(gpu_tag, const B&, matrix_view<S>, matrix_view<S>);                             \
    KEYWORD template void do_symmetric_eigenvectors(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>);          \
    KEYWORD template void do_regularize(gpu_tag, const B&, std::span<const double>, double, matrix_view<S>);           \
    KEYWORD template void do_rank1_magnitude(gpu_tag, const B&, matrix_view<const S>, std::span<S>, std::span<S>);     \
    KEYWORD template void do_project_dual(gpu_tag, const B&, magnitude_form, S, matrix_view<const S>, matrix_view<S>,  \
                                          matrix_view<S>);                                                             \
    KEYWORD template index do_descend_bits(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>,              \
                                           std::span<const S>, matrix_view<S>, matrix_view<S>);                        \
    KEYWORD template double do_fit_row_scales(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>, matrix_view<S>, \
                                              std::span<S>);                                                           \
    KEYWORD template void do_start_descent(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>, descent_rows<S>);  \
    KEYWORD template void do_descend_step(gpu_tag, const B&, descent_place, matrix_view<const S>, matrix_view<S>,      \
                                          matrix_view<S>, matrix_view<S>, descent_rows<S>);

#define SUBBIT_GPU_ROW_INSTANCES(KEYWORD, B, S)                                                                       \
    KEYWORD template void do_gather_rows(gpu_tag, const B&, matrix_view<const S>, std::span<const std::int32_t>,      \
                                         matrix_view<S>);                                                             \
    KEYWORD template void do_scale_columns(gpu_tag, const B&, matrix_view<const S>, std::span<const S>,               \
                                           matrix_view<S>);                                                           \
    KEYWORD template void do_add_scaled_columns(gpu_tag, const B&, matrix_view<const S>, std::span<const S>,          \
                                                matrix_view<S>);                                                      \
    KEYWORD template void do_multiply_rows(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>,             \
                                           matrix_view<S>);                                                           \
    KEYWORD template void do_add_to_rows(gpu_tag, const B&, matrix_view<S>, std::span<const S>);                      \
    KEYWORD template void do_token_dots(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>, std::span<S>); \
    KEYWORD template void do_token_dots_and_scale(gpu_tag, const B&, matrix_view<S>, matrix_view<const S>,            \
                                                  std::span<S>, std::span<const S>);                                  \
    KEYWORD template void do_token_sums(gpu_tag, const B&, matrix_view<const S>, std::span<S>);

#define SUBBIT_GPU_TRAIN_INSTANCES(KEYWORD, B, S)                                                                    \
    KEYWORD template void do_apply_straight_through(gpu_tag, const B&, straight_through, matrix_view<const S>,       \
                                                    matrix_view<S>);                                                 \
    KEYWORD template double do_sum_magnitudes(gpu_tag, const B&, std::span<const S>);                                \
    KEYWORD template void do_widen_margin(gpu_tag, const B&, std::span<S>, S);                                       \
    KEYWORD template void do_adamw_update(gpu_tag, const B&, const adamw_options&, std::span<const adamw_slot<S>>,   \
                                          std::span<const double>);                                                  \
    KEYWORD template void do_weighted_squared_error(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>,   \
                                                    std::span<const S>, matrix_view<S>, std::span<double>);          \
    KEYWORD template double do_weighted_square(gpu_tag, const B&, matrix_view<const S>, std::span<const S>);         \
    KEYWORD template void do_relative_squared_error(gpu_tag, const B&, matrix_view<const S>, matrix_view<const S>,   \
                                                    double, matrix_view<S>, std::span<double>);                      \
    KEYWORD template void do_cross_entropy_rows(gpu_tag, const B&, matrix_view<S>, std::span<const std::int32_t>, S, \
                                                bool, std::span<double>);                                            \
    KEYWORD template void do_forward_kl_rows(gpu_tag, const B&, matrix_view<const S>, matrix_view<S>,                \
                                             const hard_labels&, S, std::span<double>);

#define SUBBIT_GPU_LAYER_INSTANCES(KEYWORD, B, S)                                                                      \
    KEYWORD template void do_apply_layers(gpu_tag, const B&, std::span<const layer_output<S>>, matrix_view<const S>,   \
                                          apply_options);                                                              \
    KEYWORD template void do_apply_layer(gpu_tag, const B&, const residual_binary_linear<S, B>&, matrix_view<const S>, \
                                         matrix_view<S>, apply_options);                                               \
    KEYWORD template void do_apply_layer(gpu_tag, const B&, const residual_binary_linear<S>&, matrix_view<const S>,    \
                                         matrix_view<S>, apply_options);                                               \
    KEYWORD template void do_couple_paths(gpu_tag, const B&, matrix_view<const S>, std::span<binary_path<S>>);         \
    KEYWORD template void do_couple_paths(gpu_tag, const B&, matrix_view<const S>, std::span<binary_path<S, B>>);      \
    KEYWORD template void do_expand_paths(gpu_tag, const B&, std::span<const binary_path<S>>, matrix_view<S>);         \
    KEYWORD template void do_expand_paths(gpu_tag, const B&, std::span<const binary_path<S, B>>, matrix_view<S>);      \
    KEYWORD template void do_path_gradients(gpu_tag, const B&, matrix_view<const S>, std::span<const binary_path<S>>,  \
                                            std::span<vector<S>>, std::span<vector<S>>);                               \
    KEYWORD template void do_path_gradients(gpu_tag, const B&, matrix_view<const S>,                                   \
                                            std::span<const binary_path<S, B>>, std::span<B::vector<S>>,               \
                                            std::span<B::vector<S>>);                                                  \
    KEYWORD template void do_fit_path_rows(gpu_tag, const B&, matrix_view<const S>, std::span<const path_scales<S>>);
