// The compressor that is ready: what it makes of a layer, how it measures it, what it refuses.
#include <subbit/backend/cpu.hpp>
#include <subbit/recon/compressor.hpp>
#include <subbit/recon/lb_compressor.hpp>

#include "../factor/random_matrices.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {

namespace {

static_assert(layer_compressor<lb_compressor<float>, cpu, float>);
static_assert(!layer_compressor<const lb_compressor<float>, cpu, float>);  // it keeps the weights that it factorized
static_assert(!layer_compressor<lb_compressor<double>, cpu, float>);

const cpu one_thread({.threads = 1});

struct layers {
    matrix<double> first = weight_like(1, 24, 20), second = weight_like(2, 18, 31);
    std::vector<layer_moments<double>> moments{{positive_vector(3, 20), positive_vector(4, 24)},
                                               {positive_vector(5, 31), positive_vector(6, 18)}};
};

}  // namespace

TEST_CASE("a layer is what lb_admm makes of the weight, and its error is the solver's until it is tuned") {
    const layers given;
    for (const bool weighted : {false, true})
        for (const admm_iteration& iteration :
             {admm_iteration(paper_iteration{}), admm_iteration(improved_iteration{})}) {
            lb_compressor<double> compressor({8, 6}, weighted ? given.moments : std::vector<layer_moments<double>>(),
                                             {.iterations = 12, .seed = 5, .iteration = iteration});
            const auto made = compressor.factorize(one_thread, 1, const_view(given.second));
            lb_admm_options<double> options{.rank = 6, .iterations = 12, .seed = 6, .iteration = iteration};
            if (weighted) {
                options.input = given.moments[1].input;
                options.output = given.moments[1].output;
            }
            const auto expected = lb_admm(one_thread, given.second, options);
            CHECK(made.error == expected.error);
            CHECK(made.layer.binary().U_latent == expected.U_latent);
            CHECK(made.layer.binary().layer.V == expected.pack().V);
            CHECK(compressor.measure(one_thread, 1, made.layer) == doctest::Approx(expected.error).epsilon(1e-9));

            auto worse = made.layer;
            worse.binary().layer.s_post *= 2.0;
            CHECK(compressor.measure(one_thread, 1, worse) > 1.5 * made.error);
        }
}

TEST_CASE("scales are rounded where that is wanted") {
    const layers given;
    for (const bool rounds : {false, true}) {
        lb_compressor<double> compressor({8, 6}, {}, {.iterations = 3, .stored_scales = {}});
        if (rounds) compressor = lb_compressor<double>({8, 6}, {}, {.iterations = 3});
        auto made = compressor.factorize(one_thread, 0, const_view(given.first)).layer;
        const auto before = made.binary().layer;
        compressor.finish(one_thread, 0, made);
        auto rounded = before;
        round_scales(rounded, "W");
        CHECK(rounded.s_post != before.s_post);
        CHECK(made.binary().layer.s_post == (rounds ? rounded : before).s_post);
        CHECK(made.binary().layer.s_pre == (rounds ? rounded : before).s_pre);
        made.binary().layer.s_pre(3) = 1e6;
        if (rounds) check_throws<value_error>([&] { compressor.finish(one_thread, 0, made); }, {"layer 0", "16-bit"});
    }
}

TEST_CASE("a reference passes everything on, and keeps an error's name") {
    const layers given;
    lb_compressor<double> compressor({8, 6}, given.moments, {.iterations = 3});
    const compressor_reference<cpu, double> reference(compressor);
    auto made = reference.factorize(one_thread, 0, const_view(given.first));
    CHECK(reference.measure(one_thread, 0, made.layer) == compressor.measure(one_thread, 0, made.layer));
    reference.finish(one_thread, 0, made.layer);
    auto rounded = made.layer.binary().layer;
    round_scales(rounded, "W");
    CHECK(rounded.s_post == made.layer.binary().layer.s_post);

    check_throws<value_error>([&] { reference.factorize(one_thread, 2, const_view(given.first)); },
                              {"layer 2", "2 have ranks"});
    check_throws<shape_error>([&] { reference.factorize(one_thread, 1, const_view(given.first)); },
                              {"layer 1", "moments"});
    check_throws<shape_error>([&] { lb_compressor<double>({8, 6, 4}, given.moments); }, {"lb_compressor", "2", "3"});
}

}  // namespace subbit::testing
