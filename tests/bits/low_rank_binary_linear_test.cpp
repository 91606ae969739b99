#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/bits/low_rank_binary_linear.hpp>

#include <limits>
#include <vector>

namespace subbit::testing {
namespace {

template <class S>
low_rank_binary_linear<S> random_layer(index m, index r, index n, bool mid, bool bias) {
    return {.U = bit_matrix::pack(random_matrix<S>(m, r, 1)),
            .V = bit_matrix::pack(random_matrix<S>(r, n, 2)),
            .s_post = random_matrix<S>(m, 1, 3),
            .s_pre = random_matrix<S>(n, 1, 4),
            .s_mid = mid ? vector<S>(random_matrix<S>(r, 1, 5)) : vector<S>(),
            .bias = bias ? vector<S>(random_matrix<S>(m, 1, 6)) : vector<S>()};
}

template <class S>
matrix<double> expected(const low_rank_binary_linear<S>& layer, const matrix<double>& X) {
    matrix<double> hidden =
        X * layer.s_pre.template cast<double>().asDiagonal() * layer.V.template unpack<double>().transpose();
    if (layer.s_mid.size() != 0) hidden = hidden * layer.s_mid.template cast<double>().asDiagonal();
    matrix<double> Y =
        hidden * layer.U.template unpack<double>().transpose() * layer.s_post.template cast<double>().asDiagonal();
    if (layer.bias.size() != 0) Y.rowwise() += layer.bias.template cast<double>().transpose();
    return Y;
}

TEST_CASE_TEMPLATE("apply is the formula, on every instruction set and for any number of vectors", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 2e-6 : 1e-14;
    for (const isa i : runnable_isas())
        for (const bool mid : {false, true})
            for (const auto& [m, r, n] : {std::array<index, 3>{1, 1, 1}, {3, 65, 64}, {65, 63, 257}, {257, 33, 3}}) {
                const auto layer = random_layer<S>(m, r, n, mid, mid);
                const cpu b = make_cpu(i, 2);
                for (const index tokens : {1, 3, 64}) {
                    const stored_matrix<S> X(tokens, n, storage::both_strides, 9);
                    stored_matrix<S> Y(tokens, m, storage::columns, 10);
                    layer.apply(b, X.view(), Y.view());
                    CAPTURE(isa_name(i));
                    CAPTURE(tokens);
                    CHECK(relative_error(Y.values(), expected(layer, X.values())) < tolerance);
                }
            }
}

TEST_CASE("the reference backend, the dense matrix and apply agree") {
    const auto layer = random_layer<double>(40, 17, 30, true, true);
    const auto X = random_matrix<double>(5, 30, 8);
    matrix<double> Y;
    layer.apply(reference<double>{}, X, Y);
    CHECK(relative_error(Y, expected(layer, X)) < 1e-14);
    const matrix<double> through_dense = (X * layer.dense().transpose()).rowwise() + layer.bias.transpose();
    CHECK(relative_error(Y, through_dense) < 1e-13);
}

TEST_CASE("results do not depend on the number of threads, nor on the layers that share a job") {
    const auto layer = random_layer<float>(1030, 520, 2050, true, true),
               other = random_layer<float>(70, 31, 2050, true, true);
    for (const auto precision : {packed_precision::exact, packed_precision::int8})
        for (const index tokens : {1, 3, 30}) {
            const auto X = random_matrix<float>(tokens, 2050, 12);
            const cpu single = make_cpu(detect_isa(), 1), several = make_cpu(detect_isa(), 3);
            matrix<float> one, three, shared(tokens, 1030), beside(tokens, 70), alone;
            layer.apply(single, X, one, {.precision = precision});
            layer.apply(several, X, three, {.precision = precision});
            CHECK(one == three);
            apply_layers(several, const_view(X), {{other, view(beside)}, {layer, view(shared)}},
                         {.precision = precision});
            CHECK(one == shared);
            other.apply(single, X, alone, {.precision = precision});
            CHECK(alone == beside);
        }
}

TEST_CASE("many layers in one job") {
    std::vector<low_rank_binary_linear<float>> layers;
    for (index l = 0; l < 19; ++l)
        layers.push_back(random_layer<float>(10 + l, 3 + l % 4, 50, l % 2 == 0, l % 3 == 0));
    const auto X = random_matrix<float>(2, 50, 12);
    std::vector<matrix<float>> outputs;
    for (const auto& layer : layers)
        outputs.emplace_back(2, layer.rows());
    std::vector<layer_output<float>> parts;
    for (std::size_t l = 0; l < layers.size(); ++l)
        parts.push_back({layers[l], view(outputs[l])});
    apply_layers(make_cpu(detect_isa(), 2), const_view(X), parts);
    for (std::size_t l = 0; l < layers.size(); ++l) {
        matrix<float> alone;
        layers[l].apply(make_cpu(detect_isa()), X, alone);
        CHECK(outputs[l] == alone);
    }
    CHECK_NOTHROW(apply_layers(make_cpu(detect_isa()), const_view(X), {}));
    matrix<float> small(2, 9);
    check_throws<shape_error>(
        [&] {
            apply_layers(make_cpu(detect_isa()), const_view(X), {{layers[0], view(small)}});
        },
        {"Y", "2x9", "2x10"});
}

TEST_CASE("a NaN or an infinity in an input reaches every output") {
    const auto layer = random_layer<float>(70, 40, 90, false, false);
    for (const isa i : runnable_isas())
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            vector<float> x = random_matrix<float>(90, 1, 13), y;
            x(50) = bad;
            for (const auto precision : {packed_precision::exact, packed_precision::int8}) {
                layer.apply(make_cpu(i), x, y, {.precision = precision});
                CHECK_FALSE(y.array().isFinite().any());
            }
        }
}

TEST_CASE("sizes: bits for each weight, and parts that do not fit") {
    auto layer = random_layer<float>(64, 8, 32, false, false);
    CHECK(layer.storage_bits() == 8 * (64 + 32) + 16 * (64 + 32));
    CHECK(layer.bits_per_weight() == doctest::Approx(24.0 * 96 / (64 * 32)));
    CHECK(random_layer<float>(64, 8, 32, true, true).storage_bits() == 8 * 96 + 16 * (96 + 8));
    layer.validate();
    const cpu b = make_cpu(isa::portable);
    matrix<float> X(2, 31), Y(2, 64);
    check_throws<shape_error>([&] { layer.apply(b, const_view(X), view(Y)); }, {"2x31", "2x32"});
    layer.s_pre.resize(31);
    check_throws<shape_error>([&] { layer.validate(); }, {"V", "8x32", "8x31"});
    layer.s_pre.resize(32);
    layer.s_mid.resize(9);
    check_throws<shape_error>([&] { layer.validate(); }, {"s_mid", "9", "8"});
}

}  // namespace
}  // namespace subbit::testing
