// The operations of a solver, recorded and replayed.
#include <subbit/backend/emulated.hpp>
#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/solver.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "factor/random_matrices.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {

TEST_CASE("an operation that has run once may be recorded") {
    const emulated b;
    const matrix<double> Z = normal_matrix(1, 300, 40);
    auto z = upload(b, Z), x = allocate<double>(b, 300, 40), d = allocate<double>(b, 300, 40);
    const auto steps = [&] {
        normalize_columns(b, z, x);
        project_dual(b, magnitude_form::rank_one, 1, x, d, z);
        project_dual(b, magnitude_form::rank_one, 1, view(x).t(), view(d).t(), view(z).t());
    };
    CHECK_THROWS_AS(b.device().record(steps), error);
    steps();
    const auto recorded = b.device().record(steps);
    axpby(b, 1, upload(b, Z), 0, z);
    axpby(b, 0, d, 0, d);
    recorded.replay();
    matrix<double> ez = Z, ex = Z, ed = matrix<double>::Zero(300, 40);
    normalize_columns(oracle, ez, ex);
    project_dual(oracle, magnitude_form::rank_one, 1, ex, ed, ez);
    project_dual(oracle, magnitude_form::rank_one, 1, view(ex).t(), view(ed).t(), view(ez).t());
    CHECK((download(b, d) - ed).norm() < 1e-12 * ed.norm());
}

TEST_CASE("LB-ADMM's recorded iterations are those that are not, to the bit") {
    const emulated b;
    const matrix<float> W = weight_like(3, 61, 45).cast<float>();
    for (const auto iteration : {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})}) {
        const auto run = [&](bool recorded) {
            lb_admm_options<float> options{.rank = 19, .iterations = 25, .iteration = iteration};
            options.callback_every = 1;
            if (!recorded) options.callback = [](const admm_status&) {};  // a step that is watched is not recorded
            return lb_admm(b, W, options);
        };
        const auto replays = run(true), launches = run(false);
        CHECK(replays.U_latent == launches.U_latent);
        CHECK(replays.V_latent == launches.V_latent);
        CHECK(replays.s_post == launches.s_post);
        CHECK(replays.error == launches.error);
    }
}

}  // namespace subbit::testing
