// Of every operation, whose version the cpu runs: its own or the reference's. A change of this list is a decision.
#include "conformance/own_overload.hpp"

#include <counting_backend.hpp>
#include <subbit/backend/cpu.hpp>

#include <doctest/doctest.h>
#include <cstdint>
#include <span>

namespace subbit::testing {
namespace {

#define OWN(operation, ...) SUBBIT_CHECK_OWN(Base, Either, operation, arg<const cpu&>(), __VA_ARGS__)
#define INHERITED(operation, ...) SUBBIT_CHECK_INHERITED(Base, Either, operation, arg<const cpu&>(), __VA_ARGS__)

template <class T>
T arg();

template <class S, class Base = reference_tag, class Either = either_tag<cpu_tag, reference_tag>>
struct chosen_by_the_cpu {
    using in = matrix_view<const S>;
    using out = matrix_view<S>;
    using numbers = std::span<const S>;
    using results = std::span<S>;
    using doubles = std::span<const double>;
    using double_results = std::span<double>;
    using ids = std::span<const std::int32_t>;

    // memory
    INHERITED(do_allocate, arg<S>(), arg<index>(), arg<index>());
    INHERITED(do_allocate, arg<S>(), arg<index>());
    INHERITED(do_upload, arg<in>());
    INHERITED(do_upload, arg<numbers>());
    INHERITED(do_upload, arg<numbers>(), arg<results>());
    INHERITED(do_download, arg<in>());
    INHERITED(do_download, arg<numbers>());
    INHERITED(do_reshape, arg<matrix<S>&>(), arg<index>(), arg<index>());
    INHERITED(do_reshape, arg<vector<S>&>(), arg<index>());
    INHERITED(do_fill, arg<S>(), arg<out>());
    INHERITED(do_take_bits, arg<in>(), arg<bit_matrix&>());
    INHERITED(do_pack_signs, arg<in>());
    // dense
    INHERITED(do_fill_normal, arg<const random_stream&>(), arg<out>());
    OWN(do_gemm, arg<in>(), arg<in>(), arg<out>(), arg<S>(), arg<S>());
    OWN(do_gemm, arg<in>(), arg<bit_view>(), arg<out>(), arg<S>(), arg<S>());
    OWN(do_gemm, arg<in>(), arg<transposed_bit_view>(), arg<out>(), arg<S>(), arg<S>());
    OWN(do_gram, arg<in>(), arg<out>());
    INHERITED(do_rounded_gram, arg<in>(), arg<out>());  // it calls gram
    OWN(do_scale, arg<out>(), arg<numbers>(), arg<numbers>());
    OWN(do_axpby, arg<S>(), arg<in>(), arg<S>(), arg<out>());
    OWN(do_scaled_difference, arg<doubles>(), arg<in>(), arg<in>(), arg<out>());
    INHERITED(do_hadamard, arg<in>(), arg<out>());
    OWN(do_abs_row_means, arg<in>(), arg<results>());
    OWN(do_column_norms, arg<in>(), arg<results>());
    OWN(do_normalize_columns, arg<in>(), arg<out>());
    INHERITED(do_column_dots, arg<in>(), arg<in>(), arg<results>());
    OWN(do_add_square_sums, arg<in>(), arg<numbers>(), arg<double_results>());
    OWN(do_squared_distance, arg<in>(), arg<in>());
    OWN(do_squared_norm, arg<in>());
    INHERITED(do_trace, arg<in>());
    INHERITED(do_shift_diagonal, arg<S>(), arg<out>());
    INHERITED(do_copy_signs, arg<in>(), arg<out>());
    INHERITED(do_take_signs, arg<out>());
    // solver
    OWN(do_spd_solve, arg<out>(), arg<out>());
    INHERITED(do_regularize, arg<doubles>(), arg<double>(), arg<out>());
    OWN(do_project_dual, arg<magnitude_form>(), arg<S>(), arg<in>(), arg<out>(), arg<out>());
    OWN(do_rank1_magnitude, arg<in>(), arg<results>(), arg<results>());
    OWN(do_descend_bits, arg<in>(), arg<in>(), arg<numbers>(), arg<out>(), arg<out>());
    OWN(do_fit_row_scales, arg<in>(), arg<out>(), arg<out>(), arg<results>());
    INHERITED(do_symmetric_eigenvectors, arg<in>(), arg<out>());
    INHERITED(do_start_descent, arg<in>(), arg<out>(), arg<descent_rows<S>>());
    INHERITED(do_descend_step, arg<descent_place>(), arg<in>(), arg<out>(), arg<out>(), arg<out>(),
              arg<descent_rows<S>>());
    // paths
    OWN(do_couple_paths, arg<in>(), arg<std::span<binary_path<S>>>());
    OWN(do_expand_paths, arg<std::span<const binary_path<S>>>(), arg<out>());
    OWN(do_path_gradients, arg<in>(), arg<std::span<const binary_path<S>>>(), arg<std::span<vector<S>>>(),
        arg<std::span<vector<S>>>());
    INHERITED(do_fit_path_rows, arg<in>(), arg<std::span<const path_scales<S>>>());
    // layers
    OWN(do_apply_layers, arg<std::span<const layer_output<S>>>(), arg<in>(), arg<apply_options>());
    OWN(do_apply_layer, arg<const residual_binary_linear<S>&>(), arg<in>(), arg<out>());
    // rows
    INHERITED(do_gather_rows, arg<in>(), arg<ids>(), arg<out>());
    INHERITED(do_scale_columns, arg<in>(), arg<numbers>(), arg<out>());
    INHERITED(do_add_scaled_columns, arg<in>(), arg<numbers>(), arg<out>());
    INHERITED(do_multiply_rows, arg<in>(), arg<in>(), arg<out>());
    INHERITED(do_add_to_rows, arg<out>(), arg<numbers>());
    INHERITED(do_token_dots, arg<in>(), arg<in>(), arg<results>());
    INHERITED(do_token_dots_and_scale, arg<out>(), arg<in>(), arg<results>(), arg<numbers>());
    INHERITED(do_token_sums, arg<in>(), arg<results>());
    // train
    INHERITED(do_apply_straight_through, arg<straight_through>(), arg<in>(), arg<out>());
    INHERITED(do_sum_magnitudes, arg<numbers>());
    INHERITED(do_widen_margin, arg<results>(), arg<S>());
    INHERITED(do_adamw_update, arg<const adamw_options&>(), arg<std::span<const adamw_slot<S>>>(), arg<bool>(),
              arg<doubles>());
    INHERITED(do_add_to_total, arg<doubles>(), arg<double>(), arg<double_results>());
    INHERITED(do_weighted_squared_error, arg<in>(), arg<in>(), arg<numbers>(), arg<out>(), arg<double_results>());
    INHERITED(do_weighted_square, arg<in>(), arg<numbers>());
    INHERITED(do_relative_squared_error, arg<in>(), arg<in>(), arg<double>(), arg<out>(), arg<double_results>());
    INHERITED(do_cross_entropy_rows, arg<out>(), arg<ids>(), arg<S>(), arg<bool>(), arg<double_results>());
    INHERITED(do_forward_kl_rows, arg<in>(), arg<out>(), arg<S>(), arg<double_results>());
    // bytes
    OWN(do_byte_products, arg<matrix_view<const std::int8_t>>(), arg<std::span<const std::int16_t>>(),
        arg<std::span<std::int32_t>>());
};

template struct chosen_by_the_cpu<float>;
template struct chosen_by_the_cpu<double>;

}  // namespace

TEST_CASE("a backend's own version runs") {
    const counting::counting_cpu b;
    const matrix<float> A = matrix<float>::Ones(3, 5), X = matrix<float>::Ones(5, 7);
    matrix<float> C(3, 7);
    gemm(b, A, X, C);
    CHECK(b.operations() == 2 * 3 * 5 * 7);
}

namespace {

// A tag whose version of gram takes the wrong arguments, to see that the check above would notice.
struct slip_tag : cpu_tag {};
template <class B, class S>
void do_gram(slip_tag, const B&, matrix_view<const S>, matrix_view<const S>) {}

template <class S, class Base = cpu_tag, class Either = either_tag<slip_tag, cpu_tag>>
inline constexpr bool slip_is_noticed = requires(Either tag) {
    do_gram(tag, arg<const cpu&>(), arg<matrix_view<const S>>(), arg<matrix_view<S>>());
};
static_assert(slip_is_noticed<float>);

}  // namespace
}  // namespace subbit::testing
