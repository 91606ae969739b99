// What a layer can be applied to: every kind of matrix and vector that a program may have its activations in.
#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/bits/residual_binary_linear.hpp>

#include <array>
#include <span>
#include <vector>

namespace subbit::testing {
namespace {

constexpr index m = 37, n = 70, tokens = 5;

bit_matrix signs(index rows, index cols, std::uint64_t seed) {
    return bit_matrix::pack(random_matrix<float>(rows, cols, seed));
}

low_rank_binary_linear<float> low_rank_layer() {
    return {signs(m, 20, 1), signs(20, n, 2), random_matrix<float>(m, 1, 3), random_matrix<float>(n, 1, 4), {}, {}};
}

residual_binary_linear<float> residual_layer() {
    return {{{signs(m, n, 1), random_matrix<float>(m, 1, 2), random_matrix<float>(n, 1, 3)}}, {}};
}

/// The layer's outputs wherever inputs and outputs lie.
template <class Layer>
void check_everywhere(const Layer& layer) {
    const cpu b = make_cpu(detect_isa(), 2);
    const matrix<float> X = random_matrix<float>(tokens, n, 5);
    matrix<float> want;
    layer.apply(b, X, want);
    REQUIRE(want.rows() == tokens);

    const Eigen::MatrixXf columns = X;
    Eigen::MatrixXf out;
    layer.apply(b, columns, out);
    CHECK(out == want);

    Eigen::MatrixXf wide = Eigen::MatrixXf::Zero(2 * tokens + 1, n + 3), wide_out = wide;
    using strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    Eigen::Map<Eigen::MatrixXf, 0, strides> every_other(wide.data() + 1, tokens, n, strides(wide.rows(), 2));
    every_other = X;
    auto corner = wide_out.topLeftCorner(tokens, m);
    layer.apply(b, every_other, corner);
    CHECK(wide_out.topLeftCorner(tokens, m) == want);
    CHECK(wide_out.bottomRows(tokens).isZero());

    const Eigen::Ref<const Eigen::MatrixXf> reference = columns.leftCols(n);
    matrix<float> turned(m, tokens);
    layer.apply(b, reference, turned.transpose());
    CHECK(turned.transpose() == want);

    matrix<float> rows = matrix<float>::Zero(3, m);
    layer.apply(b, columns.row(2), rows.row(1));  // a row of a column-major matrix
    CHECK(rows.row(1) == want.row(2));

    const vector<float> x = X.row(3);
    vector<float> y;
    layer.apply(b, x, y);
    CHECK(y.transpose() == want.row(3));
    const std::vector<float> numbers(x.begin(), x.end());
    std::vector<float> results;
    layer.apply(b, numbers, results);
    CHECK(results == std::vector<float>(y.begin(), y.end()));
    std::array<float, m> fixed{};
    layer.apply(b, std::span(numbers), std::span(fixed));
    CHECK(std::equal(fixed.begin(), fixed.end(), y.begin()));
    layer.apply(b, Eigen::Map<const Eigen::VectorXf>(numbers.data(), n), Eigen::Map<Eigen::VectorXf>(fixed.data(), m));
    CHECK(std::equal(fixed.begin(), fixed.end(), y.begin()));

    check_throws<shape_error>([&] { layer.apply(b, std::span(numbers).first(3), std::span(fixed)); }, {"1x3", "1x70"});
}

}  // namespace

TEST_CASE("low-rank layers take matrices of any order and stride, vectors and spans") {
    check_everywhere(low_rank_layer());
}

TEST_CASE("residual layers do, too") {
    check_everywhere(residual_layer());
}

TEST_CASE("signs are packed of any matrix in memory") {
    const Eigen::MatrixXf columns = random_matrix<float>(19, 40, 1);
    const bit_matrix want = bit_matrix::pack(matrix<float>(columns));
    CHECK(bit_matrix::pack(columns) == want);
    CHECK(bit_matrix::pack(Eigen::Map<const Eigen::MatrixXf>(columns.data(), 19, 40)) == want);
    CHECK(bit_matrix::pack(columns.transpose()) == want.transpose());
}

}  // namespace subbit::testing
