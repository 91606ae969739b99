// Steps that are recorded once and replayed, and the memory that operations borrow.
#include <subbit/backend/emulated.hpp>
#include <subbit/backend/factor_operations.hpp>
#include <subbit/backend/replayed.hpp>
#include <subbit/factor/lb_admm.hpp>

#include "factor/random_matrices.hpp"

#include <doctest/doctest.h>
#include <span>

namespace subbit::testing {

TEST_CASE("steps are asked for twice, and replayed from then on") {
    const emulated b;
    const auto X = upload(b, matrix<double>(matrix<double>::Ones(5, 7)));
    auto Y = allocate<double>(b, 5, 7);
    int asked = 0;
    replayed<emulated> steps;
    const auto run = [&](int variant) {
        steps.run(b, variant, [&] {
            ++asked;
            axpby(b, variant, X, 1, Y);
        });
    };
    for (int k = 0; k < 5; ++k)
        run(1);
    CHECK(asked == 2);
    for (int k = 0; k < 3; ++k)
        run(10);
    CHECK(asked == 4);
    CHECK(download(b, Y) == matrix<double>::Constant(5, 7, 35));
}

TEST_CASE("a backend that cannot record does the steps") {
    int asked = 0;
    replayed<reference<double>> steps;
    for (int k = 0; k < 3; ++k)
        steps.run(oracle, 1, [&] { ++asked; });
    CHECK(asked == 3);
}

TEST_CASE("a stream lends the same memory again, as numbers that are none, and none of it twice at a time") {
    const emulated b;
    const auto other = b.on_another_stream(0);
    double* first = nullptr;
    {
        auto a = b.borrow<double>(40), c = b.borrow<double>(40), d = other.borrow<double>(40);
        first = a.data();
        CHECK(c.data() != first);
        CHECK(d.data() != first);
        CHECK(b.borrow<double>(0).data() == nullptr);
        b.device().clear(a.data(), a.bytes());
    }
    auto again = b.borrow<double>(33);
    CHECK(again.data() == first);
    CHECK(download_vector(b, std::span<const double>(again.data(), 33)).array().isNaN().all());
    CHECK(b.borrow<double>(4000).data() != first);
}

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
    for (const auto iteration : {admm_iteration::paper, admm_iteration::improved}) {
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
