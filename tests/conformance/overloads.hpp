// Which version of each operation does a backend run, its tag's own or the one of the tag that it extends? A version
// with a slip in its name or its arguments is never called, and the base's runs in its place without a word. So the
// suite says which ones are a backend's own, and compares them with a list of those that it should have.
#pragma once

#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/bytes.hpp>
#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/layers.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/backend/ops/solver.hpp>
#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace subbit::testing {

/// Turns into a tag as well as into the one it extends. So a call with it is ambiguous exactly where both have a
/// version for its arguments.
template <class Tag, class Base>
struct either_tag {
    operator Tag() const;
    operator Base() const;
};
template <class Tag>
struct either_tag<Tag, Tag> {
    operator Tag() const;
};

/// The tag whose versions a backend of the host runs where it has none of its own.
template <class Tag>
using base_of =
    std::conditional_t<std::derived_from<Tag, cpu_tag> && !std::same_as<Tag, cpu_tag>, cpu_tag, reference_tag>;

namespace detail {

template <class T>
T arg();

}  // namespace detail

/// The operations, by name and in the order of backend/ops, of which the tag of B has a version of its own for numbers
/// of type S: one that takes the arguments with which the operation calls it, and hides the one of Base.
template <class S, class B, class Base = base_of<typename B::tag>, class Tag = typename B::tag>
std::vector<std::string> own_operations() {
    using detail::arg;
    using in = matrix_view<const S>;
    using out = matrix_view<S>;
    using numbers = std::span<const S>;
    using results = std::span<S>;
    using doubles = std::span<const double>;
    using double_results = std::span<double>;
    using ids = std::span<const std::int32_t>;
    std::vector<std::string> own;
#define SUBBIT_OPERATION(operation, what, ...)                                                  \
    if constexpr (                                                                              \
        requires(Tag tag) { operation(tag, arg<const B&>(), __VA_ARGS__); } &&                  \
        !requires(either_tag<Tag, Base> tag) { operation(tag, arg<const B&>(), __VA_ARGS__); }) \
    own.push_back(#operation what)
    // memory
    SUBBIT_OPERATION(do_allocate, "", arg<S>(), arg<index>(), arg<index>());
    SUBBIT_OPERATION(do_allocate, " of a vector", arg<S>(), arg<index>());
    SUBBIT_OPERATION(do_upload, "", arg<in>());
    SUBBIT_OPERATION(do_upload, " of a vector", arg<numbers>());
    SUBBIT_OPERATION(do_upload, " into a vector", arg<numbers>(), arg<results>());
    SUBBIT_OPERATION(do_download, "", arg<in>());
    SUBBIT_OPERATION(do_download, " of a vector", arg<numbers>());
    SUBBIT_OPERATION(do_reshape, "", arg<matrix<S>&>(), arg<index>(), arg<index>());
    SUBBIT_OPERATION(do_reshape, " of a vector", arg<vector<S>&>(), arg<index>());
    SUBBIT_OPERATION(do_fill, "", arg<S>(), arg<out>());
    SUBBIT_OPERATION(do_take_bits, "", arg<in>(), arg<bit_matrix&>());
    SUBBIT_OPERATION(do_pack_signs, "", arg<in>());
    // dense
    SUBBIT_OPERATION(do_fill_normal, "", arg<const random_stream&>(), arg<out>());
    SUBBIT_OPERATION(do_gemm, "", arg<in>(), arg<in>(), arg<out>(), arg<S>(), arg<S>());
    SUBBIT_OPERATION(do_gemm, " of signs", arg<in>(), arg<bit_view>(), arg<out>(), arg<S>(), arg<S>());
    SUBBIT_OPERATION(do_gemm, " of transposed signs", arg<in>(), arg<transposed_bit_view>(), arg<out>(), arg<S>(),
                     arg<S>());
    SUBBIT_OPERATION(do_gram, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_rounded_gram, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_scale, "", arg<out>(), arg<numbers>(), arg<numbers>());
    SUBBIT_OPERATION(do_axpby, "", arg<S>(), arg<in>(), arg<S>(), arg<out>());
    SUBBIT_OPERATION(do_scaled_difference, "", arg<doubles>(), arg<in>(), arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_hadamard, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_abs_row_means, "", arg<in>(), arg<results>());
    SUBBIT_OPERATION(do_column_norms, "", arg<in>(), arg<results>());
    SUBBIT_OPERATION(do_normalize_columns, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_column_dots, "", arg<in>(), arg<in>(), arg<results>());
    SUBBIT_OPERATION(do_add_square_sums, "", arg<in>(), arg<numbers>(), arg<double_results>());
    SUBBIT_OPERATION(do_squared_distance, "", arg<in>(), arg<in>());
    SUBBIT_OPERATION(do_squared_norm, "", arg<in>());
    SUBBIT_OPERATION(do_trace, "", arg<in>());
    SUBBIT_OPERATION(do_shift_diagonal, "", arg<S>(), arg<out>());
    SUBBIT_OPERATION(do_copy_signs, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_take_signs, "", arg<out>());
    // solver
    SUBBIT_OPERATION(do_spd_solve, "", arg<out>(), arg<out>());
    SUBBIT_OPERATION(do_regularize, "", arg<doubles>(), arg<double>(), arg<out>());
    SUBBIT_OPERATION(do_project_dual, "", arg<magnitude_form>(), arg<S>(), arg<in>(), arg<out>(), arg<out>());
    SUBBIT_OPERATION(do_rank1_magnitude, "", arg<in>(), arg<results>(), arg<results>());
    SUBBIT_OPERATION(do_descend_bits, "", arg<in>(), arg<in>(), arg<numbers>(), arg<out>(), arg<out>());
    SUBBIT_OPERATION(do_fit_row_scales, "", arg<in>(), arg<out>(), arg<out>(), arg<results>());
    SUBBIT_OPERATION(do_symmetric_eigenvectors, "", arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_start_descent, "", arg<in>(), arg<out>(), arg<descent_rows<S>>());
    SUBBIT_OPERATION(do_descend_step, "", arg<descent_place>(), arg<in>(), arg<out>(), arg<out>(), arg<out>(),
                     arg<descent_rows<S>>());
    // paths
    SUBBIT_OPERATION(do_couple_paths, "", arg<in>(), arg<std::span<binary_path<S>>>());
    SUBBIT_OPERATION(do_expand_paths, "", arg<std::span<const binary_path<S>>>(), arg<out>());
    SUBBIT_OPERATION(do_path_gradients, "", arg<in>(), arg<std::span<const binary_path<S>>>(),
                     arg<std::span<vector<S>>>(), arg<std::span<vector<S>>>());
    SUBBIT_OPERATION(do_fit_path_rows, "", arg<in>(), arg<std::span<const path_scales<S>>>());
    // layers
    SUBBIT_OPERATION(do_apply_layers, "", arg<std::span<const layer_output<S>>>(), arg<in>(), arg<apply_options>());
    SUBBIT_OPERATION(do_apply_layer, "", arg<const residual_binary_linear<S>&>(), arg<in>(), arg<out>(),
                     arg<apply_options>());
    // rows
    SUBBIT_OPERATION(do_gather_rows, "", arg<in>(), arg<ids>(), arg<out>());
    SUBBIT_OPERATION(do_scale_columns, "", arg<in>(), arg<numbers>(), arg<out>());
    SUBBIT_OPERATION(do_add_scaled_columns, "", arg<in>(), arg<numbers>(), arg<out>());
    SUBBIT_OPERATION(do_multiply_rows, "", arg<in>(), arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_add_to_rows, "", arg<out>(), arg<numbers>());
    SUBBIT_OPERATION(do_token_dots, "", arg<in>(), arg<in>(), arg<results>());
    SUBBIT_OPERATION(do_token_dots_and_scale, "", arg<out>(), arg<in>(), arg<results>(), arg<numbers>());
    SUBBIT_OPERATION(do_token_sums, "", arg<in>(), arg<results>());
    // train
    SUBBIT_OPERATION(do_apply_straight_through, "", arg<straight_through>(), arg<in>(), arg<out>());
    SUBBIT_OPERATION(do_sum_magnitudes, "", arg<numbers>());
    SUBBIT_OPERATION(do_widen_margin, "", arg<results>(), arg<S>());
    SUBBIT_OPERATION(do_adamw_update, "", arg<const adamw_options&>(), arg<std::span<const adamw_slot<S>>>(),
                     arg<bool>(), arg<doubles>());
    SUBBIT_OPERATION(do_add_to_total, "", arg<doubles>(), arg<double>(), arg<double_results>());
    SUBBIT_OPERATION(do_weighted_squared_error, "", arg<in>(), arg<in>(), arg<numbers>(), arg<out>(),
                     arg<double_results>());
    SUBBIT_OPERATION(do_weighted_square, "", arg<in>(), arg<numbers>());
    SUBBIT_OPERATION(do_relative_squared_error, "", arg<in>(), arg<in>(), arg<double>(), arg<out>(),
                     arg<double_results>());
    SUBBIT_OPERATION(do_cross_entropy_rows, "", arg<out>(), arg<ids>(), arg<S>(), arg<bool>(), arg<double_results>());
    SUBBIT_OPERATION(do_forward_kl_rows, "", arg<in>(), arg<out>(), arg<const hard_labels&>(), arg<S>(),
                     arg<double_results>());
    // bytes
    SUBBIT_OPERATION(do_byte_products, "", arg<matrix_view<const std::int8_t>>(), arg<std::span<const std::int16_t>>(),
                     arg<std::span<std::int32_t>>());
#undef SUBBIT_OPERATION
    return own;
}

/// Those of `expected`, names of operations, of which the backend has no version of its own.
template <class S, class B>
std::vector<std::string> missing_from(const std::vector<std::string>& expected) {
    const std::vector<std::string> own = own_operations<S, B>();
    std::vector<std::string> missing;
    for (const std::string& name : expected)
        if (std::find(own.begin(), own.end(), name) == own.end()) missing.push_back(name);
    return missing;
}

}  // namespace subbit::testing
