#include <subbit/factor/scale_fit.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace subbit::testing {
namespace {

using workspace = fit_workspace<reference<double>, double>;

struct fit_case {
    explicit fit_case(std::uint64_t seed, bool three)
        : rows(*rc::gen::inRange<index>(1, 16)),
          cols(*rc::gen::inRange<index>(1, 16)),
          rank(*rc::gen::inRange<index>(1, 8)),
          T(normal_matrix(seed, rows, cols)),
          factors(random_factors(seed + 1, rows, cols, rank, three)),
          work(oracle, rows, cols, rank) {}

    double error() const { return (T - product(factors)).squaredNorm(); }

    index rows, cols, rank;
    matrix<double> T;
    sign_factors<reference<double>, double> factors;
    workspace work;
};

}  // namespace

TEST_CASE("relative_error is the residual's share, whatever the scales") {
    CHECK(rc::check("two and three scales", [](std::uint64_t seed, bool three) {
        const fit_case c(seed, three);
        const double expected = c.error() / c.T.squaredNorm();
        RC_ASSERT(std::abs(relative_error(oracle, c.T, c.factors) - expected) <= 1e-12 * (1 + expected));
    }));
    CHECK(relative_error(oracle, matrix<double>(matrix<double>::Zero(3, 4)), random_factors(1, 3, 4, 2, false)) == 0.0);
}

TEST_CASE("each refit lowers the error to the exact minimum over its scales") {
    CHECK(rc::check("left, right", [](std::uint64_t seed, bool three, bool right) {
        fit_case c(seed, three);
        const double before = c.error();
        auto& self = right ? c.factors.right : c.factors.left;
        auto& other = right ? c.factors.left : c.factors.right;
        const auto T = right ? view(std::as_const(c.T)).t() : view(std::as_const(c.T));
        const double explained = fit_outer_scale(oracle, T, other, mid_span(c.factors), self, c.work);
        const double after = c.error(), total = c.T.squaredNorm();
        RC_ASSERT(after <= before + 1e-10 * total);
        RC_ASSERT(std::abs(total - explained - after) <= 1e-9 * total);
        RC_ASSERT(self.scale.minCoeff() >= 0);
        for (const double step : {-1e-2, 1e-2}) {
            const index at = *rc::gen::inRange<index>(0, self.scale.size());
            const double kept = self.scale(at);
            self.scale(at) += step;
            RC_ASSERT(c.error() >= after - 1e-10 * total);
            self.scale(at) = kept;
        }
    }));
    CHECK(rc::check("middle", [](std::uint64_t seed) {
        fit_case c(seed, true);
        const double before = c.error(), total = c.T.squaredNorm();
        fit_mid_scale(oracle, view(std::as_const(c.T)), c.factors, c.work);
        const double after = c.error();
        RC_ASSERT(after <= before + 1e-10 * c.T.squaredNorm());
        RC_ASSERT(c.factors.mid->minCoeff() >= 0);
        for (const double step : {-1e-2, 1e-2}) {
            const index at = *rc::gen::inRange<index>(0, c.rank);
            const double kept = (*c.factors.mid)(at);
            (*c.factors.mid)(at) += step;
            RC_ASSERT(c.error() >= after - 1e-8 * total);
            (*c.factors.mid)(at) = kept;
        }
    }));
}

TEST_CASE("rounds of refits never raise the error") {
    CHECK(rc::check("two and three scales", [](std::uint64_t seed, bool three) {
        fit_case c(seed, three);
        double before = c.error();
        for (int round = 0; round < 4; ++round) {
            const double explained = fit_scales(oracle, c.T, c.factors, 1, c.work);
            const double after = c.error();
            RC_ASSERT(after <= before + 1e-10 * c.T.squaredNorm());
            RC_ASSERT(std::abs(c.T.squaredNorm() - explained - after) <= 1e-9 * c.T.squaredNorm());
            before = after;
        }
    }));
}

TEST_CASE("scales that made the target are found again") {
    auto truth = random_factors(11, 14, 12, 3, true);
    const matrix<double> T = product(truth);
    auto factors = truth;
    factors.left.scale.setOnes();
    factors.right.scale.setOnes();
    factors.mid->setOnes();
    workspace work(oracle, 14, 12, 3);
    fit_scales(oracle, T, factors, 200, work);
    CHECK(relative_error(oracle, T, factors) < 1e-8);
}

}  // namespace subbit::testing
