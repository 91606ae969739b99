// Of every operation, whose version the cpu runs: its own or the reference's. A change of this list is a decision.
#include "conformance/overloads.hpp"

#include <counting_backend.hpp>
#include <subbit/backend/cpu.hpp>

#include <doctest/doctest.h>
#include <algorithm>

namespace subbit::testing {
namespace {

using names = std::vector<std::string>;

const names of_the_cpu = {"do_gemm",
                          "do_gemm of signs",
                          "do_gemm of transposed signs",
                          "do_gram",
                          "do_scale",
                          "do_axpby",
                          "do_scaled_difference",
                          "do_abs_row_means",
                          "do_column_norms",
                          "do_normalize_columns",
                          "do_add_square_sums",
                          "do_squared_distance",
                          "do_squared_norm",
                          "do_spd_solve",
                          "do_project_dual",
                          "do_rank1_magnitude",
                          "do_descend_bits",
                          "do_fit_row_scales",
                          "do_couple_paths",
                          "do_expand_paths",
                          "do_path_gradients",
                          "do_apply_layers",
                          "do_apply_layer",
                          "do_byte_products"};

// A tag whose version of gram takes the wrong arguments, and whose version of scale has the wrong name.
struct slip_tag : cpu_tag {};
struct slipping : cpu {
    using tag = slip_tag;
    using cpu::cpu;
};
template <class B, class S>
void do_gram(slip_tag, const B&, matrix_view<const S>, matrix_view<const S>) {}
template <class B, class S>
void do_scales(slip_tag, const B&, matrix_view<S>, std::span<const S>, std::span<const S>) {}
template <class B, class S>
double do_squared_norm(slip_tag, const B&, matrix_view<const S>) {
    return 1;
}

}  // namespace

TEST_CASE("the cpu has versions of its own for what takes the time, the reference for the rest") {
    CHECK(own_operations<float, cpu>() == of_the_cpu);
    CHECK(own_operations<double, cpu>() == of_the_cpu);
}

TEST_CASE("the suite says which versions are a backend's own, and notices a slip in one") {
    CHECK(own_operations<float, counting::counting_cpu>() == names{"do_gemm"});
    CHECK(own_operations<float, slipping>() == names{"do_squared_norm"});
    CHECK(missing_from<float, slipping>({"do_gram", "do_scale", "do_squared_norm"}) == names{"do_gram", "do_scale"});
}

TEST_CASE("a backend's own version runs") {
    const counting::counting_cpu b;
    const matrix<float> A = matrix<float>::Ones(3, 5), X = matrix<float>::Ones(5, 7);
    matrix<float> C(3, 7);
    gemm(b, A, X, C);
    CHECK(b.operations() == 2 * 3 * 5 * 7);
}

}  // namespace subbit::testing
