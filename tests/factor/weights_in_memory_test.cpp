// Solvers take a weight, and moments, wherever Eigen has them in memory.
#include <subbit/backend/cpu.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/residual_svid.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {

TEST_CASE("a weight in a Map, a Ref, a block or of the other order is factorized like any other") {
    const cpu b({.threads = 1});
    const matrix<double> W = weight_like(1, 17, 23);
    const vector<double> in = positive_vector(2, 23);
    const auto want = dual_svid(b, W, {.rank = 5, .input = in});

    const Eigen::MatrixXd columns = W;
    CHECK(dual_svid(b, columns, {.rank = 5, .input = in}).U == want.U);
    Eigen::MatrixXd wide(40, 50);
    wide.block(3, 4, 17, 23) = W;
    CHECK(dual_svid(b, wide.block(3, 4, 17, 23), {.rank = 5, .input = in}).U == want.U);
    const Eigen::Ref<const Eigen::MatrixXd> part = wide.block(3, 4, 17, 23);
    CHECK(dual_svid(b, part, {.rank = 5, .input = in}).U == want.U);

    std::vector<double> numbers(in.begin(), in.end());
    const Eigen::Map<const matrix<double>> map(W.data(), 17, 23);
    const Eigen::Map<const Eigen::RowVectorXd> moments(numbers.data(), 23);
    CHECK(dual_svid(b, map, {.rank = 5, .input = moments}).U == want.U);
    CHECK(dual_svid(b, map, {.rank = 5, .input = std::span<const double>(numbers)}).U == want.U);
    wide.col(45).head(23) = in;
    CHECK(dual_svid(b, map, {.rank = 5, .input = wide.col(45).head(23)}).U == want.U);

    CHECK(residual_svid(b, part, {}).error == residual_svid(b, W, {}).error);
}

}  // namespace subbit::testing
