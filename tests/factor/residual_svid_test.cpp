// Residual SVID and the coupled forward: each against what the paper says of it.
#include <subbit/factor/residual_svid.hpp>

#include "../support/throws.hpp"
#include "random_matrices.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <limits>
#include <numbers>

namespace subbit::testing {
namespace {

/// ||D (W - What) E||^2 / ||D W E||^2 with D and E the moments' roots to the power.
double preconditioned_error(const matrix<double>& W, const matrix<double>& What, const vector<double>& output,
                            const vector<double>& input, double power) {
    const vector<double> left = output.array().pow(power / 2), right = input.array().pow(power / 2);
    const matrix<double> error = left.asDiagonal() * (W - What) * right.asDiagonal();
    const matrix<double> whole = left.asDiagonal() * W * right.asDiagonal();
    return error.squaredNorm() / whole.squaredNorm();
}

}  // namespace

TEST_CASE("more rounds never raise the preconditioned error above the greedy start, and preconditioning is undone") {
    CHECK(rc::check("any shape and number of paths", [](std::uint64_t seed) {
        const index m = *rc::gen::inRange<index>(1, 24), n = *rc::gen::inRange<index>(1, 24);
        const index paths = *rc::gen::inRange<index>(1, 5);
        const double power = *rc::gen::element(0.0, 0.5, 1.0);
        const matrix<double> W = normal_matrix(seed, m, n);
        const vector<double> input = positive_vector(seed + 1, n), output = positive_vector(seed + 2, m);
        const auto fit = [&](int rounds, int refits) {
            return residual_svid(oracle, W,
                                 {.paths = paths,
                                  .rounds = rounds,
                                  .refit_rounds = refits,
                                  .input = input,
                                  .output = output,
                                  .power = power});
        };
        const auto greedy = fit(1, 0), iterative = fit(8, 0), refitted = fit(8, 2);
        const double slack = 1e-9 + 1e-4 * greedy.error;  // five power iterations are not quite exact
        RC_ASSERT(greedy.round_errors.size() == 1u && iterative.round_errors.size() == 8u);
        RC_ASSERT(iterative.round_errors.front() == greedy.error);
        RC_ASSERT(iterative.error <= greedy.error + slack);
        RC_ASSERT(refitted.error <= iterative.error + 1e-12);
        for (const auto* f : {&greedy, &iterative, &refitted}) {
            f->layer.validate();
            RC_ASSERT(f->layer.path_count() == paths);
            RC_ASSERT(std::abs(f->error - preconditioned_error(W, f->layer.dense(), output, input, power)) <= 1e-9);
        }
    }));
}

TEST_CASE("every further path lowers the error, and two reach that of the best four levels") {
    const matrix<double> W = normal_matrix(5, 96, 128);
    double last = 1;
    for (index paths = 1; paths <= max_paths; ++paths) {
        const double error = residual_svid(oracle, W, {.paths = paths, .rounds = 16}).error;
        CHECK(error < 0.5 * last);
        last = error;
    }
    CHECK(residual_svid(oracle, W, {.paths = 1}).error == doctest::Approx(1 - 2 / std::numbers::pi).epsilon(0.05));
    // Lloyd-Max's four levels for a Gaussian leave 0.1175; scales per row and column fit a little more.
    const double two = residual_svid(oracle, W, {.paths = 2, .rounds = 16}).error;
    CHECK((two > 0.09 && two < 0.121));
    CHECK(two < 0.95 * residual_svid(oracle, W, {.paths = 2, .rounds = 1}).error);
}

TEST_CASE("a residual that is exactly zero, all-equal rows, and a matrix of zeros") {
    matrix<double> equal(12, 9);
    equal.rowwise() = normal_matrix(3, 1, 9).row(0);
    for (const matrix<double>& W : {equal, matrix<double>(matrix<double>::Zero(4, 6)), matrix<double>(-equal.col(0))})
        for (const index paths : {1, 2, 4}) {
            const auto f = residual_svid(oracle, W, {.paths = paths});
            CHECK(f.error < 1e-20);
            CHECK((f.layer.dense() - W).norm() <= 1e-9 * (1 + W.norm()));
            for (const auto& path : f.layer.paths)
                CHECK((path.s_post.allFinite() && path.s_pre.allFinite()));
        }
}

TEST_CASE("bad input names the matrix") {
    const matrix<double> W = normal_matrix(1, 5, 4);
    for (const index paths : {-1, 0, 5})
        check_throws<value_error>([&] { residual_svid(oracle, W, {.paths = paths, .name = "q"}); },
                                  {"q", std::to_string(paths), "1 to 4"});
    check_throws<value_error>([&] { residual_svid(oracle, W, {.rounds = 0, .name = "q"}); }, {"q", "0 rounds"});
    check_throws<value_error>([&] { residual_svid(oracle, matrix<double>(0, 3), {.name = "q"}); }, {"q", "empty"});
    const vector<double> short_moments = vector<double>::Ones(3);
    check_throws<shape_error>([&] { residual_svid(oracle, W, {.input = short_moments, .name = "q"}); },
                              {"q", "3", "4"});
    matrix<double> bad = W;
    bad(2, 3) = std::numeric_limits<double>::quiet_NaN();
    check_throws<value_error>([&] { residual_svid(oracle, bad, {.name = "q"}); }, {"q", "(2,3)"});
}

TEST_CASE("coupled signs are those of what the paths before leave") {
    CHECK(rc::check("any shape", [](std::uint64_t seed) {
        const index m = *rc::gen::inRange<index>(1, 20), n = *rc::gen::inRange<index>(1, 70);
        const matrix<double> W = normal_matrix(seed, m, n);
        residual_binary_linear<double> layer;
        for (std::uint64_t p = 0; p < 3; ++p)
            layer.paths.push_back(
                {bit_matrix(m, n), positive_vector(seed + 2 * p + 1, m), positive_vector(seed + 2 * p + 2, n)});
        matrix<double> R = W;
        couple_paths(oracle, W, std::span<binary_path<double>>(layer.paths));
        for (const auto& path : layer.paths) {
            RC_ASSERT(path.B == bit_matrix::pack(R));
            R -= path.dense();
        }
        matrix<double> effective(m, n);
        expand_paths(oracle, std::span<const binary_path<double>>(layer.paths), effective);
        RC_ASSERT((W - R - effective).norm() <= 1e-12 * (1 + W.norm()));
    }));
}

TEST_CASE("coupled signs are the closest ones where the paths' sizes fall") {
    const matrix<double> W = normal_matrix(8, 40, 33);
    auto f = residual_svid(oracle, W, {.paths = 2, .rounds = 8});
    const double before = (W - f.layer.dense()).squaredNorm();
    couple_paths(oracle, W, std::span<binary_path<double>>(f.layer.paths));
    CHECK((W - f.layer.dense()).squaredNorm() <= before * (1 + 1e-12));
}

}  // namespace subbit::testing
