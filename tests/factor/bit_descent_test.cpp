#include <subbit/factor/bit_descent.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace subbit::testing {
namespace {

using workspace = fit_workspace<reference<double>, double>;

double error(const matrix<double>& T, const sign_factors<reference<double>, double>& f) {
    return (T - product(f)).squaredNorm();
}

bool is_sign(double x) {
    return x == 1.0 || x == -1.0;
}

}  // namespace

TEST_CASE("one sweep is coordinate descent bit by bit: the same as trying every flip in turn") {
    CHECK(rc::check("left factor", [](std::uint64_t seed, bool three) {
        const index m = *rc::gen::inRange<index>(1, 6), n = *rc::gen::inRange<index>(1, 8);
        const index r = *rc::gen::inRange<index>(1, 5);
        const matrix<double> T = normal_matrix(seed, m, n);
        auto factors = random_factors(seed + 1, m, n, r, three);
        auto brute = factors;
        index flips = 0;
        for (index i = 0; i < m; ++i)
            for (index j = 0; j < r; ++j) {
                const double before = error(T, brute);
                brute.left.signs(i, j) *= -1;
                if (error(T, brute) < before)
                    ++flips;
                else
                    brute.left.signs(i, j) *= -1;
            }
        workspace work(oracle, m, n, r);
        prepare_half_step(oracle, T, factors.right, mid_span(factors), factors.left, work);
        const index taken =
            descend_bits(oracle, work.linear(m), work.quadratic(),
                         std::span<const double>(const_span(factors.left.scale)), factors.left.signs, work.field(m));
        RC_ASSERT(taken == flips);
        RC_ASSERT(factors.left.signs == brute.left.signs);
        const matrix<double> field = factors.left.signs * work.quadratic();
        RC_ASSERT((as_eigen(work.field(m)) - field).norm() <= 1e-9 * (1 + field.norm()));
    }));
}

TEST_CASE("descent never raises the error, round by round, and reports what it explains") {
    CHECK(rc::check("two and three scales", [](std::uint64_t seed, bool three) {
        const index m = *rc::gen::inRange<index>(1, 14), n = *rc::gen::inRange<index>(1, 14);
        const index r = *rc::gen::inRange<index>(1, 7);
        const matrix<double> T = normal_matrix(seed, m, n);
        const double total = T.squaredNorm();
        auto factors = random_factors(seed + 1, m, n, r, three);
        workspace work(oracle, m, n, r);
        double before = error(T, factors);
        for (int round = 0; round < 5; ++round) {
            const auto result = descend(oracle, T, total, factors, {.max_rounds = 1}, work);
            const double after = error(T, factors);
            RC_ASSERT(result.rounds == 1);
            RC_ASSERT(after <= before + 1e-10 * total);
            RC_ASSERT(after <= total - result.explained + 1e-6 * total);
            before = after;
        }
        RC_ASSERT(factors.left.signs.unaryExpr(&is_sign).all());
        RC_ASSERT(factors.right.signs.unaryExpr(&is_sign).all());
    }));
}

TEST_CASE("descent ends where no single flip improves (1-opt)") {
    CHECK(rc::check("brute force over all flips", [](std::uint64_t seed) {
        const index m = *rc::gen::inRange<index>(1, 8), n = *rc::gen::inRange<index>(1, 8);
        const index r = *rc::gen::inRange<index>(1, 5);
        const matrix<double> T = normal_matrix(seed, m, n);
        auto factors = random_factors(seed + 1, m, n, r, false);
        workspace work(oracle, m, n, r);
        descend(oracle, T, T.squaredNorm(), factors, {.max_rounds = 2000, .tolerance = 1e-13}, work);
        const double reached = error(T, factors);
        const auto no_flip_helps = [&](matrix<double>& signs) {
            for (index i = 0; i < signs.size(); ++i) {
                signs.data()[i] *= -1;
                const bool better = error(T, factors) < reached - 1e-6 * T.squaredNorm();
                signs.data()[i] *= -1;
                if (better) return false;
            }
            return true;
        };
        RC_ASSERT(no_flip_helps(factors.left.signs));
        RC_ASSERT(no_flip_helps(factors.right.signs));
    }));
}

TEST_CASE("a factorization with a few wrong bits is repaired") {
    const auto truth = random_factors(21, 40, 36, 4, false);
    const matrix<double> T = product(truth);
    auto factors = truth;
    for (index k = 0; k < 20; ++k)
        factors.left.signs(2 * k, k % 4) *= -1;
    workspace work(oracle, 40, 36, 4);
    CHECK(relative_error(oracle, T, factors) > 0.05);
    const auto result = descend(oracle, T, T.squaredNorm(), factors, {}, work);
    CHECK(result.flips == 20);
    CHECK(relative_error(oracle, T, factors) < 1e-12);
    CHECK(factors.left.signs == truth.left.signs);
}

}  // namespace subbit::testing
