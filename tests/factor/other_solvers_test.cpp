// DBF and dual SVID.
#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "random_matrices.hpp"
#include "support/svd.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace subbit::testing {

TEST_CASE("DBF's penalty rises with the cube and stays at one") {
    CHECK(dbf_penalty(0, 260) == 0.0);
    CHECK(dbf_penalty(257, 260) == 1.0);
    CHECK(dbf_penalty(259, 260) == 1.0);
    CHECK(dbf_penalty(100, 203) == doctest::Approx(0.125));
}

TEST_CASE("DBF reaches LB-ADMM's error with three scales") {
    const matrix<double> W = weight_like(1, 40, 32);
    const auto dbf = dbf_admm(oracle, W, {.rank = 14, .iterations = 60});
    const auto lb = lb_admm(oracle, W, {.rank = 14, .iterations = 200});
    CHECK(dbf.s_mid.size() == 14);
    CHECK(dbf.error < 1.05 * lb.error);
    CHECK(dbf_admm(oracle, W, {.rank = 14, .iterations = 60, .refine = refine_options{}}).error <= dbf.error);
    CHECK(dbf_admm(oracle, W, {.rank = 40, .iterations = 60}).error < 0.5 * dbf.error);
    CHECK_THROWS_AS(dbf_admm(oracle, W, {.rank = 16 * 32 + 1}), value_error);
    CHECK_THROWS_AS(dbf_admm(oracle, W, {.rank = 3, .iterations = 0}), value_error);
}

TEST_CASE("dual SVID's real factors are the truncated SVD, split evenly and balanced") {
    CHECK(rc::check("tall and wide", [](std::uint64_t seed) {
        const index m = *rc::gen::inRange<index>(2, 20), n = *rc::gen::inRange<index>(2, 20);
        const index r = *rc::gen::inRange<index>(1, std::min(m, n) + 1);
        const matrix<double> W = normal_matrix(seed, m, n);
        const auto fit = dual_svid(oracle, W, {.rank = r});
        const svd exact(W);
        const matrix<double> best =
            exact.U.leftCols(r) * exact.values.head(r).asDiagonal() * exact.V.leftCols(r).transpose();
        RC_ASSERT((fit.U * fit.V - best).norm() <= 1e-5 * W.norm());
        RC_ASSERT(std::abs(fit.U.norm() - fit.V.norm()) <= 1e-9 * fit.U.norm());
    }));
}

TEST_CASE("refined dual SVID is better than plain, and worse than the ADMM") {
    const matrix<double> W = weight_like(3, 48, 36);
    for (const scale_form scales : {scale_form::two, scale_form::three}) {
        const double plain = dual_svid(oracle, W, {.rank = 16, .scales = scales}).error;
        const double refined = dual_svid(oracle, W, {.rank = 16, .scales = scales, .refine = refine_options{}}).error;
        const double admm = lb_admm(oracle, W, {.rank = 16, .iterations = 200, .scales = scales}).error;
        CHECK(refined < plain);
        CHECK(admm < refined);
    }
}

TEST_CASE("a rank-one sign matrix with scales is exact") {
    const auto truth = random_factors(5, 12, 9, 1, false);
    CHECK_THROWS_AS(dual_svid(oracle, product(truth), {.rank = 10}), value_error);
    const auto fit = dual_svid(oracle, product(truth), {.rank = 1});
    CHECK(fit.error < 1e-12);
}

}  // namespace subbit::testing
