#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

namespace subbit::testing {
namespace {

TEST_CASE_TEMPLATE("spd_solve against a solve in double", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 2e-4 : 1e-12;
    for (const index k : {1, 3, 47, 48, 49, 63, 64, 65, 97, 257}) {
        const auto X = random_matrix<double>(2 * k + 3, k, 1);
        const matrix<double> spd = product(X.transpose(), X);
        for (const index n : {1, 64, 257})
            for (const storage how : {storage::rows, storage::both_strides}) {
                matrix<double> want = stored_matrix<S>(n, k, how, 3).values(), factored = spd;
                spd_solve(reference<double>(), factored, want);
                for (const isa i : runnable_isas()) {
                    stored_matrix<S> G(k, k, how, 2), R(n, k, how, 3);
                    as_eigen(G.view()) = spd.cast<S>();
                    spd_solve(make_cpu(i, 2), G.view(), R.view());
                    CAPTURE(isa_name(i));
                    CAPTURE(k);
                    CAPTURE(n);
                    CHECK(relative_error(R.values(), want) < tolerance);
                }
            }
    }
}

TEST_CASE("a symmetric matrix that is not positive definite is solved by LU, a singular one is refused") {
    const cpu b = make_cpu(detect_isa());
    for (const index k : {2, 60, 130}) {
        const auto X = random_matrix<double>(k, k, 1);
        const matrix<double> symmetric = X + X.transpose();
        const auto rhs = random_matrix<double>(5, k, 2);
        matrix<double> G = symmetric, R = rhs;
        spd_solve(b, G, R);
        CHECK(relative_error(matrix<double>(R * symmetric), rhs) < 1e-9);
    }
    // Positive in its first leaf: the factorization fails only after it has updated what follows.
    matrix<double> late = matrix<double>::Constant(96, 96, 0.1);
    late.topLeftCorner(48, 48) = 2 * matrix<double>::Identity(48, 48);
    late.bottomRightCorner(48, 48) = -matrix<double>::Identity(48, 48);
    const auto rhs = random_matrix<double>(5, 96, 2);
    matrix<double> late_copy = late, X = rhs;
    spd_solve(b, late_copy, X);
    CHECK(relative_error(matrix<double>(X * late), rhs) < 1e-9);

    matrix<double> zero = matrix<double>::Zero(3, 3), R(1, 3);
    R.setOnes();
    check_throws<value_error>([&] { spd_solve(b, zero, R); }, {"3x3", "singular"});
}

}  // namespace
}  // namespace subbit::testing
