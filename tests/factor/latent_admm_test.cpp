// The properties of the block updates that lb_admm and dbf_admm run (NanoQuant, Lemma 2 and Theorem 3).
#include <subbit/factor/latent_admm.hpp>

#include "random_matrices.hpp"
#include "support/svd.hpp"

#include <Eigen/Cholesky>

#include <doctest/doctest.h>
#include <rapidcheck.h>

namespace subbit::testing {
namespace {

using factor = admm_factor<reference<double>, double>;

factor random_factor(std::uint64_t seed, index n, index rank) {
    factor f(oracle, n, rank);
    f.latent = normal_matrix(seed, n, rank);
    f.auxiliary = normal_matrix(seed + 1, n, rank);
    f.dual = 0.3 * normal_matrix(seed + 2, n, rank);
    return f;
}

/// The augmented Lagrangian of one factor in scaled form, the other's basis X fixed:
/// 1/2 ||T - A X'||^2 + ridge/2 ||A||^2 + rho/2 ||A - Az + Au||^2 - rho/2 ||Au||^2.
double lagrangian(const matrix<double>& T, const matrix<double>& X, const factor& f, admm_penalty p) {
    return 0.5 * (T - f.latent * X.transpose()).squaredNorm() + 0.5 * p.ridge * f.latent.squaredNorm() +
           0.5 * p.rho * ((f.latent - f.auxiliary + f.dual).squaredNorm() - f.dual.squaredNorm());
}

struct problem {
    explicit problem(std::uint64_t seed)
        : rows(*rc::gen::inRange<index>(1, 20)),
          cols(*rc::gen::inRange<index>(1, 20)),
          rank(*rc::gen::inRange<index>(1, 12)),  // above min(rows, cols) at times: the Gram matrix is singular then
          T(normal_matrix(seed, rows, cols)),
          self(random_factor(seed + 1, rows, rank)),
          other(random_factor(seed + 4, cols, rank)),
          penalty{*rc::gen::element(0.0, 0.3, 1.0), *rc::gen::element(0.03, 0.5)} {}

    /// The other factor's columns at unit norm.
    matrix<double> basis() const {
        matrix<double> X(other.auxiliary.rows(), rank);
        normalize_columns(oracle, other.auxiliary, X);
        return X;
    }
    void update() {
        latent_solver<reference<double>, double> solver(oracle, std::max(rows, cols), rank, latent_solve::exact);
        solver.set(oracle, penalty);
        solver.update(oracle, T, other, self);
    }

    index rows, cols, rank;
    matrix<double> T;
    factor self, other;
    admm_penalty penalty;
};

}  // namespace

TEST_CASE("the latent's sub-problem is SPD, and its solution is the one stationary point (Lemma 2)") {
    CHECK(rc::check("gradient zero", [](std::uint64_t seed) {
        problem p(seed);
        p.update();
        const auto X = p.basis();
        const double lambda = p.penalty.rho + p.penalty.ridge;  // unit columns: the Gram matrix's mean diagonal is 1
        const matrix<double> H = X.transpose() * X + lambda * matrix<double>::Identity(p.rank, p.rank);
        RC_ASSERT(Eigen::LLT<matrix<double>>(H).info() == Eigen::Success);
        const matrix<double> gradient = p.self.latent * H - p.T * X - p.penalty.rho * (p.self.auxiliary - p.self.dual);
        RC_ASSERT(gradient.norm() <= 1e-10 * (1 + p.T.norm() + p.self.latent.norm()));
    }));
}

TEST_CASE("no block update raises the augmented Lagrangian at fixed rho (Theorem 3)") {
    CHECK(rc::check("the latent against where it was and against perturbations", [](std::uint64_t seed) {
        problem p(seed);
        const factor before = p.self;
        p.update();
        const double after = lagrangian(p.T, p.basis(), p.self, p.penalty);
        const double slack = 1e-10 * (1 + std::abs(after));
        RC_ASSERT(after <= lagrangian(p.T, p.basis(), before, p.penalty) + slack);
        factor moved = p.self;
        moved.latent += *rc::gen::element(1e-3, 1.0) * normal_matrix(seed + 9, p.rows, p.rank);
        RC_ASSERT(after <= lagrangian(p.T, p.basis(), moved, p.penalty) + slack);
    }));
    CHECK(rc::check("the projection onto row magnitudes against any other row magnitudes", [](std::uint64_t seed) {
        problem p(seed);
        const factor before = p.self;
        const matrix<double> t = before.latent + before.dual;
        auxiliary_update(oracle, magnitude_form::row_means, 1, factor_side::left, p.self);
        RC_ASSERT((p.self.dual - (t - p.self.auxiliary)).norm() <= 1e-12 * (1 + t.norm()));
        matrix<double> other = normal_matrix(seed + 9, p.rows, p.rank);
        take_signs(oracle, other);
        other = positive_vector(seed + 10, p.rows).asDiagonal() * other;
        RC_ASSERT((t - p.self.auxiliary).squaredNorm() <= (t - other).squaredNorm() * (1 + 1e-12));
        const double scaled = *rc::gen::inRange(0, 300) / 100.0;
        RC_ASSERT((t - p.self.auxiliary).squaredNorm() <= (t - scaled * p.self.auxiliary).squaredNorm() * (1 + 1e-12));
    }));
}

TEST_CASE("the rank-one projection is a descent step too, and near the best one") {
    CHECK(rc::check("both sides", [](std::uint64_t seed) {
        for (const factor_side side : {factor_side::left, factor_side::right}) {
            problem p(seed);
            const matrix<double> t = p.self.latent + p.self.dual;
            auxiliary_update(oracle, magnitude_form::rank_one, 1, side, p.self);
            const double best = t.squaredNorm() - std::pow(svd(t.cwiseAbs()).values(0), 2);
            RC_ASSERT((t - p.self.auxiliary).squaredNorm() <= best + 0.1 * t.squaredNorm());
            // Orthogonal to what is left: with these magnitudes' direction the length is exact.
            const double kept = p.self.auxiliary.squaredNorm();
            RC_ASSERT(std::abs((t - p.self.auxiliary).squaredNorm() + kept - t.squaredNorm()) <=
                      1e-12 * t.squaredNorm());
            for (index i = 0; i < t.rows(); ++i)
                for (index j = 0; j < t.cols(); ++j)
                    RC_ASSERT(sign(t(i, j)) * p.self.auxiliary(i, j) >= 0);
        }
    }));
}

TEST_CASE("a leaky dual keeps its fraction of the residual") {
    factor f = random_factor(3, 6, 4), full = f;
    auxiliary_update(oracle, magnitude_form::row_means, 1, factor_side::left, full);
    auxiliary_update(oracle, magnitude_form::row_means, 0.95, factor_side::left, f);
    CHECK((f.dual - 0.95 * full.dual).norm() < 1e-14);
    CHECK(f.auxiliary == full.auxiliary);
}

}  // namespace subbit::testing
