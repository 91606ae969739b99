// The solvers on the GPU backend's kernels, emulated, against the same solvers on the cpu.
#include <subbit/backend/cpu.hpp>
#include <subbit/backend/emulated.hpp>
#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/factor/residual_svid.hpp>

#include "factor/random_matrices.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {
namespace {

const emulated gpu_device;
const cpu host_device({.threads = 1});

/// Two runs in double take the same decisions; their numbers differ by rounding.
template <class Solve>
void check_same_factors(Solve solve) {
    const auto got = solve(gpu_device), expected = solve(host_device);
    CHECK(got.error == doctest::Approx(expected.error).epsilon(1e-9));
    CHECK(got.flips == expected.flips);
    CHECK(got.pack().U == expected.pack().U);
    CHECK(got.pack().V == expected.pack().V);
    CHECK((got.s_post - expected.s_post).norm() <= 1e-8 * expected.s_post.norm());
    CHECK((got.s_pre - expected.s_pre).norm() <= 1e-8 * expected.s_pre.norm());
    CHECK(got.s_mid.size() == expected.s_mid.size());
    CHECK((got.s_mid - expected.s_mid).norm() <= 1e-8 * expected.s_mid.norm());
}

}  // namespace

TEST_CASE("LB-ADMM gives the cpu's factors") {
    const vector<double> in = vector<double>::LinSpaced(33, 0.1, 3), out = vector<double>::LinSpaced(47, 0.5, 2);
    for (const bool wide : {false, true})
        for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})})
            for (const auto scales : {scale_form::two, scale_form::three}) {
                CAPTURE(wide);
                const auto solve = scales == scale_form::two ? latent_solve::exact : latent_solve::conjugate_gradients;
                const matrix<double> W = wide ? weight_like(2, 33, 47) : weight_like(1, 47, 33);
                check_same_factors([&](const auto& b) {
                    return lb_admm(b, W,
                                   {.rank = 17,
                                    .input = wide ? out : in,
                                    .output = wide ? in : out,
                                    .iterations = 12,
                                    .scales = scales,
                                    .iteration = iteration,
                                    .solve = solve,
                                    .refine = refine_options{}});
                });
            }
}

// The cpu's systems are solved exactly, the device's by conjugate gradients: another way to an end as good.
TEST_CASE("LB-ADMM in float is as good as the cpu's") {
    const matrix<float> W = weight_like(3, 65, 48).cast<float>();
    for (const index rank : {24, 72}) {  // within the smaller side, and above the larger
        const auto solve = [&](const auto& b) { return lb_admm(b, W, {.rank = rank, .iterations = 30}).error; };
        CHECK(solve(gpu_device) == doctest::Approx(solve(host_device)).epsilon(0.02));
        CHECK(solve(gpu_device) == solve(gpu_device));
    }
}

TEST_CASE("DBF, dual SVID and residual SVID give the cpu's factors") {
    const matrix<double> W = weight_like(4, 40, 31);
    for (const auto solve : {latent_solve::exact, latent_solve::conjugate_gradients})
        check_same_factors(
            [&](const auto& b) { return dbf_admm(b, W, {.rank = 12, .iterations = 12, .solve = solve}); });
    for (const auto scales : {scale_form::two, scale_form::three})
        check_same_factors(
            [&](const auto& b) { return dual_svid(b, W, {.rank = 12, .scales = scales, .refine = refine_options{}}); });
    const auto solve = [&](const auto& b) { return residual_svid(b, W, {.paths = 2, .rounds = 3}); };
    const auto got = solve(gpu_device), expected = solve(host_device);
    CHECK(got.error == doctest::Approx(expected.error).epsilon(1e-9));
    for (std::size_t p = 0; p < 2; ++p) {
        CHECK(got.layer.paths[p].B == expected.layer.paths[p].B);
        CHECK((got.layer.paths[p].s_pre - expected.layer.paths[p].s_pre).norm() <= 1e-8);
    }
}

TEST_CASE("the scale of the weights changes nothing but the scales, and zeros have none") {
    const matrix<float> W = weight_like(3, 33, 18).cast<float>();
    const auto check = [&](auto solve) {
        const auto plain = solve(W);
        for (const float size : {0x1p-99F, 0x1p99F}) {
            const auto far = solve(matrix<float>(size * W));
            CHECK(far.pack().U == plain.pack().U);
            CHECK(far.pack().V == plain.pack().V);
            CHECK(far.error == plain.error);
        }
        const auto zero = solve(matrix<float>(matrix<float>::Zero(33, 18)));
        CHECK(zero.error == 0.0);
        CHECK(zero.s_post == vector<float>::Zero(33));
        CHECK(zero.s_pre == vector<float>::Zero(18));
    };
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})})
        check([&](const matrix<float>& X) {
            return lb_admm(gpu_device, X, {.rank = 5, .iterations = 12, .iteration = iteration});
        });
    check([&](const matrix<float>& X) { return dbf_admm(gpu_device, X, {.rank = 5, .iterations = 5}); });
    check([&](const matrix<float>& X) { return dual_svid(gpu_device, X, {.rank = 5}); });
}

}  // namespace subbit::testing
