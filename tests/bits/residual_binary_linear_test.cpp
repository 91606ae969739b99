#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/bits/residual_binary_linear.hpp>

#include <array>

namespace subbit::testing {
namespace {

template <class S>
residual_binary_linear<S> random_paths(index m, index n, index paths, bool bias) {
    residual_binary_linear<S> layer;
    for (std::uint64_t p = 0; p < static_cast<std::uint64_t>(paths); ++p)
        layer.paths.push_back({bit_matrix::pack(random_matrix<S>(m, n, 10 * p + 1)), random_matrix<S>(m, 1, 10 * p + 2),
                               random_matrix<S>(n, 1, 10 * p + 3)});
    if (bias) layer.bias = random_matrix<S>(m, 1, 99);
    return layer;
}

/// The formula, in double.
template <class S>
matrix<double> expected_outputs(const residual_binary_linear<S>& layer, const matrix<double>& X) {
    matrix<double> Y = matrix<double>::Zero(X.rows(), layer.rows());
    for (const auto& path : layer.paths)
        Y += X * path.s_pre.template cast<double>().asDiagonal() * path.B.template unpack<double>().transpose() *
             path.s_post.template cast<double>().asDiagonal();
    if (layer.bias.size() != 0) Y.rowwise() += layer.bias.template cast<double>().transpose();
    return Y;
}

TEST_CASE_TEMPLATE("paths add up, on every instruction set and for any number of vectors", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 4e-6 : 1e-14;
    for (const isa i : runnable_isas())
        for (const auto& [m, n, paths] :
             {std::array<index, 3>{1, 1, 1}, {3, 64, 2}, {65, 257, 3}, {257, 63, 4}, {64, 65, 2}}) {
            const auto layer = random_paths<S>(m, n, paths, paths != 2);
            for (const index tokens : {1, 3, 64}) {
                const stored_matrix<S> X(tokens, n, storage::both_strides, 9);
                stored_matrix<S> Y(tokens, m, storage::columns, 10);
                layer.apply(make_cpu(i, 2), X.view(), Y.view());
                CAPTURE(isa_name(i));
                CAPTURE(tokens);
                CHECK(relative_error(Y.values(), expected_outputs(layer, X.values())) < tolerance);
            }
        }
}

TEST_CASE("the reference backend and the dense matrix agree; threads do not matter") {
    const auto layer = random_paths<double>(40, 30, 3, true);
    const auto X = random_matrix<double>(5, 30, 8);
    matrix<double> Y;
    layer.apply(reference<double>{}, X, Y);
    CHECK(relative_error(Y, expected_outputs(layer, X)) < 1e-13);
    const auto wide = random_paths<float>(1030, 2050, 2, true);
    for (const auto precision : {packed_precision::exact, packed_precision::reordered, packed_precision::int8})
        for (const index tokens : {1, 3, 30, 50}) {
            const auto inputs = random_matrix<float>(tokens, 2050, 12);
            matrix<float> one, three;
            wide.apply(make_cpu(detect_isa(), 1), inputs, one, {.precision = precision});
            wide.apply(make_cpu(detect_isa(), 3), inputs, three, {.precision = precision});
            CHECK(one == three);
        }
}

TEST_CASE("bits for each weight, parts that do not fit, and too few or too many paths") {
    auto layer = random_paths<float>(64, 32, 2, true);
    CHECK(layer.storage_bits() == 2 * (64 * 32 + 16 * (64 + 32)));
    CHECK(layer.bits_per_weight() == doctest::Approx(2 + 2 * 16.0 * 96 / (64 * 32)));
    layer.validate();
    const cpu b = make_cpu(isa::portable);
    matrix<float> X(2, 31), Y(2, 64);
    check_throws<shape_error>([&] { layer.apply(b, const_view(X), view(Y)); }, {"2x31", "2x32"});
    layer.paths[1].s_pre.resize(31);
    check_throws<shape_error>([&] { layer.validate(); }, {"s_pre", "31", "32"});
    layer.paths[1] = random_paths<float>(64, 33, 1, false).paths[0];
    check_throws<shape_error>([&] { layer.validate(); }, {"B", "64x33", "64x32"});
    check_throws<value_error>([] { random_paths<float>(4, 4, 5, false).validate(); }, {"5 paths", "1 to 4"});
    check_throws<value_error>([] { residual_binary_linear<float>().validate(); }, {"0 paths"});
}

}  // namespace
}  // namespace subbit::testing
