// Conjugate gradients for many right-hand sides against exact solves, and how many steps a latent's solver takes.
#include <subbit/backend/cpu.hpp>
#include <subbit/factor/conjugate_gradients.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <cmath>

namespace subbit::testing {
namespace {

using oracle_solver = latent_solver<reference<double>, double>;

matrix<double> random_rotation(std::uint64_t seed, index n) {
    matrix<double> G(n, n), Q(n, n);
    gram(oracle, normal_matrix(seed, n, n), G);
    symmetric_eigenvectors(oracle, G, Q);
    return Q;
}

/// A symmetric matrix with eigenvalues from 1 / condition to 1, evenly spaced in their logarithms.
matrix<double> conditioned(std::uint64_t seed, index n, double condition) {
    const matrix<double> Q = random_rotation(seed, n);
    const vector<double> exponents = vector<double>::LinSpaced(n, -std::log(condition), 0);
    return Q * exponents.array().exp().matrix().asDiagonal() * Q.transpose();
}

/// x'Gx for each row x.
vector<double> energies(const matrix<double>& X, const matrix<double>& G) {
    return (X * G).cwiseProduct(X).rowwise().sum();
}

/// One factor whose basis has singular values from 1 down to `least`, before its columns are normalized.
struct spread_problem {
    spread_problem(index rows, index cols, index rank, double least)
        : T(normal_matrix(1, rows, cols)), self(oracle, rows, rank), other(oracle, cols, rank) {
        const vector<double> values = vector<double>::LinSpaced(rank, std::log(least), 0).array().exp();
        other.auxiliary = normal_matrix(2, cols, rank) * values.asDiagonal() * random_rotation(3, rank);
    }
    void update(oracle_solver& by) {
        self.latent.setZero();
        by.set(oracle, {0.0, least_ridge});
        by.update(oracle, T, other, self);
    }

    static constexpr double least_ridge = 1e-6;
    matrix<double> T;
    admm_factor<reference<double>, double> self, other;
};

}  // namespace

TEST_CASE("every step brings a row as much nearer as theory says, and enough of them solve it") {
    for (const index n : {1, 2, 7, 33, 64})
        for (const double condition : {1.0, 30.0, 1e3})
            for (const int steps : {1, 2, 4, 8, 200}) {
                CAPTURE(n);
                CAPTURE(condition);
                CAPTURE(steps);
                const matrix<double> G = conditioned(7, n, condition), exact = normal_matrix(8, 5, n);
                matrix<double> R = exact * G, X = normal_matrix(9, 5, n);
                const vector<double> before = energies(X - exact, G);
                conjugate_gradients<reference<double>, double> gradients(oracle, 6, n);
                gradients.solve(oracle, steps, G, R, X);
                const vector<double> after = energies(X - exact, G);
                const double root = std::sqrt(condition), rate = (root - 1) / (root + 1);
                const double bound = std::min(1.0, std::pow(2 * std::pow(rate, steps), 2));
                for (index i = 0; i < 5; ++i)
                    CHECK(after(i) <= (bound + 1e-12) * before(i));
            }
}

TEST_CASE("the share of the last steps says whether there were enough, and is forgotten when told") {
    const index n = 40;
    const auto share = [&](double condition, int steps) {
        const matrix<double> G = conditioned(7, n, condition);
        matrix<double> R = normal_matrix(8, 9, n), X = matrix<double>::Zero(9, n);
        conjugate_gradients<reference<double>, double> gradients(oracle, 9, n);
        gradients.solve(oracle, steps, G, R, X);
        const double result = gradients.last_share(oracle);
        CHECK(std::isnan(gradients.last_share(oracle)));
        return result;
    };
    CHECK(share(10, 1) == 1);
    CHECK(share(10, 8) < 0.004);
    CHECK(share(1e5, 8) > 0.04);
}

TEST_CASE("a system that nothing is known of, or whose matrix is not definite, leaves the latent where it is") {
    matrix<double> G = -matrix<double>::Identity(3, 3), R = normal_matrix(1, 2, 3), X = matrix<double>::Zero(2, 3);
    conjugate_gradients<reference<double>, double> gradients(oracle, 2, 3);
    gradients.solve(oracle, 3, G, R, X);
    CHECK(X == matrix<double>::Zero(2, 3));
}

TEST_CASE("where many steps are not enough, systems are solved exactly from there on") {
    spread_problem hard(30, 64, 50, 1e-4);
    oracle_solver by(oracle, 64, 50, latent_solve::conjugate_gradients), exact(oracle, 64, 50, latent_solve::exact);
    CHECK(by.steps() > 0);
    for (int k = 0; k < 6; ++k) {
        hard.update(by);
        by.choose_steps(oracle);
    }
    CHECK(by.steps() == 0);
    hard.update(by);
    const matrix<double> got = hard.self.latent;
    hard.update(exact);
    CHECK(got == hard.self.latent);
}

TEST_CASE("easy systems take few steps, and what is not a number is solved exactly") {
    spread_problem easy(30, 400, 10, 1.0);
    oracle_solver by(oracle, 400, 10, latent_solve::conjugate_gradients);
    for (int k = 0; k < 8; ++k) {
        easy.update(by);
        by.choose_steps(oracle);
    }
    CHECK(by.steps() > 0);
    CHECK(by.steps() <= 4);
    easy.T(3, 4) = std::nan("");
    for (int k = 0; k < 20; ++k) {
        easy.update(by);
        by.choose_steps(oracle);
    }
    CHECK(by.steps() == 0);
}

TEST_CASE("LB-ADMM with conjugate gradients ends where it does with exact solves, to 1 percent") {
    const cpu backend({.threads = 2});
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})}) {
        double exact = 0, steps = 0;
        for (const auto& [rows, cols, rank] : {std::array<index, 3>{97, 61, 29}, {64, 64, 33}, {51, 130, 48}})
            for (std::uint64_t seed = 0; seed < 4; ++seed) {
                const matrix<float> W = weight_like(seed, rows, cols).cast<float>();
                lb_admm_options<float> options{.rank = rank,
                                               .iterations = 120,
                                               .seed = seed,
                                               .iteration = iteration,
                                               .solve = latent_solve::exact};
                exact += lb_admm(backend, W, options).error;
                options.solve = latent_solve::conjugate_gradients;
                steps += lb_admm(backend, W, options).error;
            }
        CHECK(steps == doctest::Approx(exact).epsilon(0.01));
        CHECK(steps != exact);
    }
}

}  // namespace subbit::testing
