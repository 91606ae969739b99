#include <subbit/factor/balance.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace subbit::testing {

TEST_CASE("balance is the least ||Af||^2 + ||Bf||^2 over the orbit (c Af, Bf / c) (Proposition 1)") {
    CHECK(rc::check("any two factors", [](std::uint64_t seed) {
        const index m = *rc::gen::inRange<index>(1, 20), n = *rc::gen::inRange<index>(1, 20);
        const index r = *rc::gen::inRange<index>(1, 10);
        const double size = *rc::gen::element(1e-6, 0.3, 1.0, 1e5);
        matrix<double> A = size * normal_matrix(seed, m, r), B = normal_matrix(seed + 1, r, n);
        const matrix<double> before = A * B;
        const double eta = balance(oracle, A, B);
        RC_ASSERT(eta > 0);
        RC_ASSERT(std::abs(A.norm() - B.norm()) <= 1e-12 * A.norm());
        RC_ASSERT((A * B - before).norm() <= 1e-12 * before.norm());
        const double least = A.squaredNorm() + B.squaredNorm();
        const double c = *rc::gen::inRange(1, 400) / 100.0;
        RC_ASSERT((c * A).squaredNorm() + (B / c).squaredNorm() >= least * (1 - 1e-12));
    }));
}

TEST_CASE("a zero factor is left as it is") {
    matrix<double> A = matrix<double>::Zero(3, 2), B = normal_matrix(1, 2, 4);
    const matrix<double> before = B;
    CHECK(balance(oracle, A, B) == 1.0);
    CHECK(B == before);
}

}  // namespace subbit::testing
