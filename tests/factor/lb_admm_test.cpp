#include <subbit/backend/cpu.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <limits>
#include <vector>

namespace subbit::testing {
namespace {

matrix<double> reconstruct(const factorization<double>& f) {
    matrix<double> U = f.U, V = f.V;
    take_signs(oracle, U);
    take_signs(oracle, V);
    if (f.s_mid.size()) U = U * f.s_mid.asDiagonal();
    return f.s_post.asDiagonal() * U * V * f.s_pre.asDiagonal();
}

double weighted_error(const matrix<double>& W, const factorization<double>& f, const vector<double>& in,
                      const vector<double>& out) {
    const matrix<double> T = out.cwiseSqrt().asDiagonal() * W * in.cwiseSqrt().asDiagonal();
    const matrix<double> R = out.cwiseSqrt().asDiagonal() * (W - reconstruct(f)) * in.cwiseSqrt().asDiagonal();
    return R.squaredNorm() / T.squaredNorm();
}

}  // namespace

TEST_CASE("the schedules' values") {
    using enum penalty_schedule;
    CHECK(penalty(linear, 0.25) == 0.25);
    CHECK(penalty(cubic, 0.5) == 0.125);
    CHECK(penalty(logistic, 0.5) == doctest::Approx(0.5));
    CHECK(penalty(logistic, 0.0) == doctest::Approx(1 / (1 + std::exp(2.5))));
    CHECK(penalty(exp_decay, 0.3) == doctest::Approx((1 - std::exp(-1.5)) / (1 - std::exp(-5.0))));
    CHECK(penalty(exp_growth, 0.3) == doctest::Approx((std::exp(1.5) - 1) / (std::exp(5.0) - 1)));
    for (const auto schedule : {linear, cubic, exp_decay, exp_growth}) {
        CHECK(penalty(schedule, 0.0) == 0.0);
        CHECK(penalty(schedule, 1.0) == doctest::Approx(1.0));
    }
}

TEST_CASE("shapes, signs and the error of the result, tall and wide, both iterations, two and three scales") {
    CHECK(rc::check("", [](std::uint64_t seed, bool improved, bool three, bool refined) {
        const index m = *rc::gen::inRange<index>(1, 24), n = *rc::gen::inRange<index>(1, 24);
        const index r = *rc::gen::inRange<index>(1, 2 * std::min(m, n) + 1);
        const matrix<double> W = weight_like(seed, m, n);
        const auto in = positive_vector(seed + 5, n), out = positive_vector(seed + 6, m);
        const auto fit = lb_admm(oracle, W,
                                 {.rank = r,
                                  .input = in,
                                  .output = out,
                                  .iterations = 6,
                                  .seed = seed,
                                  .scales = three ? scale_form::three : scale_form::two,
                                  .iteration = improved ? admm_iteration() : paper_iteration{},
                                  .refine = refined ? std::optional(refine_options{}) : std::nullopt});
        RC_ASSERT(fit.U.rows() == m && fit.V.cols() == n && fit.U.cols() == r && fit.V.rows() == r);
        RC_ASSERT(fit.U_latent.rows() == m && fit.V_latent.cols() == n);
        RC_ASSERT(fit.s_post.size() == m && fit.s_pre.size() == n && fit.s_mid.size() == (three ? r : 0));
        RC_ASSERT(fit.s_post.minCoeff() >= 0 && fit.s_pre.minCoeff() >= 0);
        const double expected = weighted_error(W, fit, in, out);
        RC_ASSERT(std::abs(fit.error - expected) <= 1e-9 * (1 + expected));
        if (refined) {
            matrix<double> bits = fit.U, latent = fit.U_latent;
            take_signs(oracle, bits);
            take_signs(oracle, latent);
            RC_ASSERT(bits == latent);
            RC_ASSERT(fit.error <= 1.0 + 1e-12);
        }
    }));
}

TEST_CASE("the transpose of a wide matrix gives the transposed factors") {
    const matrix<double> W = weight_like(3, 30, 18), Wt = W.transpose();
    const auto a = lb_admm(oracle, W, {.rank = 8, .iterations = 10});
    const auto b = lb_admm(oracle, Wt, {.rank = 8, .iterations = 10});
    CHECK((a.U - b.V.transpose()).norm() < 1e-12 * a.U.norm());
    CHECK((a.s_post - b.s_pre).norm() < 1e-12 * a.s_post.norm());
}

TEST_CASE("the improved iteration is no worse than the paper's at the same K") {
    double improved = 0, paper = 0;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        const matrix<float> W = weight_like(10 * seed, 96, 64).cast<float>();
        const cpu backend({.threads = 1});
        improved += lb_admm(backend, W, {.rank = 32}).error;
        paper += lb_admm(backend, W,
                         {.rank = 32, .iterations = 60, .iteration = paper_iteration{}, .refine = refine_options{}})
                     .error;
    }
    CHECK(improved <= paper);
}

TEST_CASE("the improved solver is what one gets, the paper's is one word away") {
    const matrix<double> W = weight_like(6, 24, 20);
    const auto improved = lb_admm(oracle, W, {.rank = 8}),
               paper = lb_admm(oracle, W, {.rank = 8, .iteration = paper_iteration{}});
    CHECK(improved.iterations == 60);
    CHECK(paper.iterations == 400);
    const auto spelled_out = lb_admm(
        oracle, W, {.rank = 8, .iterations = 60, .iteration = improved_iteration{}, .refine = refine_options{}});
    CHECK(improved.U == spelled_out.U);
    CHECK(improved.flips == spelled_out.flips);
    CHECK(paper.flips == 0);
}

TEST_CASE("more iterations, and refinement, lower the error") {
    const matrix<double> W = weight_like(7, 48, 40);
    const auto error = [&](int iterations, std::optional<refine_options> refine = {}) {
        const paper_iteration paper;  // which has no refinement unless it is asked for
        return lb_admm(oracle, W, {.rank = 16, .iterations = iterations, .iteration = paper, .refine = refine}).error;
    };
    const double few = error(10), many = error(200), refined = error(200, refine_options{});
    CHECK(many < few);
    CHECK(refined < many);
    CHECK(refined > 0.0);
}

TEST_CASE("ranks above the smaller side lower the error further") {
    const matrix<double> W = weight_like(8, 30, 20);
    double above = 1;
    for (const index rank : {10, 20, 30, 40, 60}) {
        const double error = lb_admm(oracle, W, {.rank = rank}).error;
        CHECK(error < 0.75 * above);
        above = error;
    }
}

TEST_CASE("same seed, same bits, whatever the thread count; another seed, other bits") {
    const matrix<float> W = weight_like(5, 150, 90).cast<float>();
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})}) {
        const auto run = [&](int threads, std::uint64_t seed) {
            return lb_admm(
                cpu({.threads = threads}), W,
                {.rank = 40, .iterations = 12, .seed = seed, .iteration = iteration, .refine = refine_options{}});
        };
        const auto one = run(1, 0), two = run(2, 0), other = run(2, 1);
        CHECK(one.U == two.U);
        CHECK(one.V_latent == two.V_latent);
        CHECK(one.s_post == two.s_post);
        CHECK(one.s_pre == two.s_pre);
        CHECK(one.error == two.error);
        CHECK(one.U != other.U);
    }
}

TEST_CASE("the callback hears residuals that fall") {
    const matrix<double> W = weight_like(9, 40, 32);
    std::vector<admm_status> heard;
    lb_admm(oracle, W,
            {.rank = 12,
             .iterations = 100,
             .callback = [&](const admm_status& status) { heard.push_back(status); },
             .callback_every = 25});
    REQUIRE(heard.size() == 4);
    for (std::size_t k = 0; k < heard.size(); ++k)
        CHECK(heard[k].iteration == static_cast<int>(25 * (k + 1)));
    CHECK(heard[3].primal < heard[0].primal);
    CHECK(heard[3].dual < heard[0].dual);
    CHECK(heard[3].error < heard[0].error);
    CHECK(heard[3].error < 1.0);
}

TEST_CASE("what the callback throws stops the work") {
    const matrix<double> W = weight_like(9, 20, 12);
    CHECK_THROWS_AS(
        lb_admm(oracle, W, {.rank = 4, .callback = [](const admm_status&) { throw cancelled_error("stop"); }}),
        cancelled_error);
}

TEST_CASE("the packed layer has the bits and scales of the fit") {
    const matrix<double> W = weight_like(2, 20, 33);
    const auto fit = lb_admm(oracle, W, {.rank = 8, .iterations = 5});
    const auto layer = fit.pack();
    CHECK(layer.U == bit_matrix::pack(fit.U));
    CHECK(layer.dense().isApprox(reconstruct(fit), 1e-12));
    const auto three = lb_admm(oracle, W, {.rank = 8, .iterations = 5, .scales = scale_form::three});
    CHECK(three.pack().dense().isApprox(reconstruct(three), 1e-12));
}

TEST_CASE("inputs that cannot be factorized are refused by name") {
    const matrix<double> W = weight_like(1, 12, 10);
    const auto run = [&](const matrix<double>& weight, const vector<double>& in, const vector<double>& out, index rank,
                         int iterations = 2) {
        return lb_admm(oracle, weight,
                       {.rank = rank, .input = in, .output = out, .iterations = iterations, .name = "q_proj"});
    };
    const vector<double> in = vector<double>::Ones(10), out = vector<double>::Ones(12);
    CHECK_NOTHROW(run(W, in, out, 10));
    CHECK_THROWS_WITH_AS(run(W, in, out, 0), "q_proj (12x10): rank 0, expected 1 to 160", value_error);
    CHECK_THROWS_AS(run(W, in, out, 161), value_error);
    CHECK_THROWS_AS(run(W, in, out, 4, 0), value_error);
    CHECK_THROWS_AS(run(matrix<double>(0, 5), in, out, 1), value_error);
    CHECK_THROWS_WITH_AS(run(W, out, out, 4), "q_proj: input moments has 12 entries, expected 10", shape_error);
    CHECK_THROWS_AS(run(W, in, in, 4), shape_error);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        matrix<double> broken = W;
        broken(3, 2) = bad;
        CHECK_THROWS_WITH_AS(run(broken, in, out, 4), "q_proj (12x10) is not finite at (3,2)", value_error);
        vector<double> moments = in;
        moments(1) = bad;
        CHECK_THROWS_AS(run(W, moments, out, 4), value_error);
    }
    vector<double> negative = out;
    negative(5) = -1;
    CHECK_THROWS_AS(run(W, in, negative, 4), value_error);
    CHECK_THROWS_AS(run(1e200 * W, in, out, 4), value_error);  // finite, but the norm is not
    matrix<double> left = matrix<double>::Ones(12, 4), right = matrix<double>::Ones(4, 10);
    const auto start = [&] {
        return lb_admm(oracle, W,
                       {.rank = 4, .iterations = 2, .start_left = view(left), .start_right = view(right), .name = "q"});
    };
    CHECK_NOTHROW(start());
    left(1, 1) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(start(), value_error);
    left = matrix<double>::Ones(12, 5);
    CHECK_THROWS_AS(start(), shape_error);
}

TEST_CASE("zero weights and zero moments are survived") {
    const auto zero = lb_admm(oracle, matrix<double>(matrix<double>::Zero(8, 6)), {.rank = 3, .iterations = 5});
    CHECK(zero.error == 0.0);
    CHECK(reconstruct(zero).allFinite());
    vector<double> in = vector<double>::Ones(6);
    in(2) = 0;
    const auto fit = lb_admm(oracle, weight_like(4, 8, 6), {.rank = 3, .input = in, .iterations = 20});
    CHECK(fit.s_pre.allFinite());
    CHECK(fit.error < 1.0);
}

}  // namespace subbit::testing
