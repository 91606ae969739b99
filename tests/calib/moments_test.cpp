#include <subbit/backend/reference.hpp>
#include <subbit/calib/moments.hpp>
#include <subbit/distribute/shares.hpp>
#include <subbit/io/safetensors.hpp>

#include "../support/reference.hpp"
#include "../support/thread_ranks.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <limits>
#include <string>

namespace subbit::testing {
namespace {

const reference<double> backend;

matrix<double> random_batch(std::uint64_t seed, index tokens, index channels) {
    matrix<double> X(tokens, channels);
    fill_normal(backend, random_stream(seed), X);
    return X;
}

double relative_difference(const vector<double>& x, const vector<double>& y) {
    return (x - y).cwiseQuotient(y).cwiseAbs().maxCoeff();
}

vector<double> moments_of(const std::vector<matrix<double>>& batches, const moment_options& options) {
    clipped_moments<double> moments(batches.front().cols(), options);
    if (needs_two_passes(options.mode))
        for (const auto& X : batches)
            moments.observe(backend, X);
    for (const auto& X : batches)
        moments.add_batch(backend, X);
    return moments.finish();
}

}  // namespace

TEST_SUITE("reference") {
    TEST_CASE("moments agree with the released hooks to 1e-5") {
        const safetensors_reader file(reference_dir() / "calibration.safetensors");
        std::vector<matrix<double>> batches;
        for (const char* name : {"batch0", "batch1", "batch2"})
            batches.push_back(file.read_matrix<double>(name));

        const auto online = moments_of(batches, {.mode = clipping::online});
        CHECK(relative_difference(online, file.read_vector<double>("online.inputs")) < 1e-5);
        CHECK(relative_difference(shrink(online, 0.4), file.read_vector<double>("online.inputs.shrunk_0.4")) < 1e-5);

        clipped_moments<double> two_phase(batches.front().cols(), {.mode = clipping::two_phase});
        for (const auto& X : batches)
            two_phase.observe(backend, X);
        for (const auto& X : batches)
            two_phase.add_batch(backend, X);
        CHECK(two_phase.tau() == doctest::Approx(file.read_vector<double>("two_phase.tau")(0)).epsilon(1e-5));
        CHECK(relative_difference(two_phase.finish(), file.read_vector<double>("two_phase.inputs")) < 1e-5);

        for (auto& X : batches)
            X *= 1e-4;
        CHECK(relative_difference(moments_of(batches, {.mode = clipping::online, .scale = 1e6}),
                                  file.read_vector<double>("online.output_gradients_of_batches_times_1e-4")) < 1e-5);
    }
}

TEST_CASE("plain moments are the mean squares") {
    const auto X = random_batch(1, 50, 6), Y = random_batch(2, 50, 6);
    const vector<double> expected = (X.colwise().squaredNorm() + Y.colwise().squaredNorm()).transpose() / (2.0 * 50.0);
    CHECK(relative_difference(moments_of({X, Y}, {.mode = clipping::plain}), expected) < 1e-12);
}

TEST_CASE("clipping bounds the influence of one token by tau^2 / T (Lemma 1)") {
    CHECK(rc::check("two_phase, one token replaced by anything", [](std::uint64_t seed) {
        const index tokens = *rc::gen::inRange<index>(2, 40), channels = *rc::gen::inRange<index>(1, 12);
        const index loud = *rc::gen::inRange<index>(0, tokens);
        const double size = *rc::gen::element(1e-3, 1.0, 1e3, 1e9);
        const auto X = random_batch(seed, tokens, channels);
        auto Y = X;
        Y.row(loud) = size * random_batch(seed + 1, 1, channels);
        clipped_moments<double> a(channels, {.mode = clipping::two_phase}), b = a;
        a.observe(backend, X);
        b.observe(backend, X);  // the same bound: the lemma is about what is accumulated under it
        a.add_batch(backend, X);
        b.add_batch(backend, Y);
        const double bound = a.tau() * a.tau() / static_cast<double>(tokens);
        RC_ASSERT((a.finish() - b.finish()).cwiseAbs().maxCoeff() <= bound * (1 + 1e-9));
        // The bound is not slack: no token adds more than tau^2 / T to the trace either.
        RC_ASSERT(b.finish().sum() <= a.tau() * a.tau() * (1 + 1e-9));
    }));
}

TEST_CASE("online rescales what it has when the bound grows") {
    const auto X = random_batch(5, 30, 4);
    const matrix<double> louder = 3.0 * X;
    clipped_moments<double> moments(4, {.mode = clipping::online});
    moments.add_batch(backend, X);
    const double before = moments.tau();
    const vector<double> first = moments.finish();
    moments.add_batch(backend, louder);
    CHECK(moments.tau() == doctest::Approx(3 * before));
    CHECK(relative_difference(moments.finish(), 9 * first) < 1e-12);
}

TEST_CASE("a stack of batches is its batches one after the other") {
    matrix<double> stack(60, 5);
    for (index k = 0; k < 4; ++k)
        stack.middleRows(15 * k, 15) =
            static_cast<double>(1 + k % 3) * random_batch(11 + static_cast<std::uint64_t>(k), 15, 5);
    for (const auto mode : {clipping::quantile, clipping::online, clipping::two_phase, clipping::plain}) {
        clipped_moments<double> one(5, {.mode = mode}), all = one;
        for (const bool adds : {false, true}) {
            for (index k = 0; k < 4; ++k) {
                const matrix<double> batch = stack.middleRows(15 * k, 15);
                adds ? one.add_batch(backend, batch) : one.observe(backend, batch);
            }
            if (!adds && !needs_two_passes(mode)) one = all;
            if (adds)
                all.add_batch(backend, stack, 15);
            else if (needs_two_passes(mode))
                all.observe(backend, stack, 15);
        }
        CHECK(all.tau() == one.tau());
        CHECK(all.finish() == one.finish());
    }
    clipped_moments<double> moments(5, {.mode = clipping::online});
    CHECK_THROWS_AS(moments.add_batch(backend, stack, 16), shape_error);
}

TEST_CASE("one loud token among 2000 is clipped to the bound of the others") {
    auto X = random_batch(7, 2000, 8);
    X.row(17) *= 1e6;
    for (const auto mode : {clipping::quantile, clipping::online}) {
        clipped_moments<double> moments(8, {.mode = mode});
        if (needs_two_passes(mode)) moments.observe(backend, X);
        moments.add_batch(backend, X);
        CHECK(moments.tau() < 10.0);
        CHECK(moments.finish().maxCoeff() < 2.0);
    }
}

TEST_CASE("one loud token among thousands does not decide, however small the batches") {
    const index tokens = 4096;
    matrix<double> X = random_batch(21, tokens, 2);
    X.row(0) << 100.0, 0.0;
    const auto ratio = [&](clipping mode, index batch) {
        std::vector<matrix<double>> batches;
        for (index t = 0; t < tokens; t += batch)
            batches.push_back(X.middleRows(t, batch));
        const auto moments = moments_of(batches, {.mode = mode});
        return moments(0) / moments(1);
    };
    for (const index batch : {1, 64, 256, 2048, 4096}) {
        CAPTURE(batch);
        CHECK(ratio(clipping::quantile, batch) == doctest::Approx(1.0).epsilon(0.1));
        CHECK(ratio(clipping::quantile, batch) == doctest::Approx(ratio(clipping::quantile, tokens)).epsilon(1e-12));
    }
    CHECK(ratio(clipping::online, 64) > 1.5);  // the paper's: batches too small to clip
    CHECK(ratio(clipping::two_phase, 64) > 1.5);
}

TEST_CASE("the bound is the norm that the asked fraction of all tokens has at most, in any order") {
    matrix<double> X(1000, 1);
    for (index t = 0; t < 1000; ++t)
        X(t, 0) = static_cast<double>((t * 617) % 1000 + 1);  // each of 1 to 1000 once
    for (const double keep : {0.999, 0.99, 0.5, 1.0}) {
        const double bound = 1000 * keep;
        clipped_moments<double> moments(1, {.keep = percentile{keep}});
        moments.observe(backend, X.topRows(300));
        moments.observe(backend, X.bottomRows(700), 100);
        CAPTURE(keep);
        CHECK(moments.tau() >= bound);
        CHECK(moments.tau() <= bound * (1 + 1.0 / 256));  // norms are counted in bins of that width
    }
}

TEST_CASE("ranks that share batches out have the moments of one, to the last bit") {
    matrix<double> X = random_batch(77, 7 * 16, 5);
    X.row(33) *= 50;
    X.col(4) *= 1e-6;
    for (const clipping mode : {clipping::quantile, clipping::two_phase}) {
        const auto moments_on = [&](int size) {
            return on_ranks(size, [&](const communicator& me) {
                clipped_moments<double> m(5, {.mode = mode, .keep = percentile{0.99}});
                const unit_range mine = even_share(7, me.size(), me.rank());
                for (index k = mine.first; k < mine.last; ++k)
                    m.observe(backend, matrix<double>(X.middleRows(16 * k, 16)));
                m.merge_observed(me);
                for (index k = mine.first; k < mine.last; ++k)
                    m.add_batch(backend, matrix<double>(X.middleRows(16 * k, 16)));
                m.merge_added(me);
                return m.finish();
            });
        };
        const auto alone = moments_on(1).front();
        for (const int ranks : {2, 3, 4, 9})
            for (const auto& shared : moments_on(ranks))
                CHECK(shared == alone);
    }
    // The batches of one pass have an order.
    const auto refused = on_ranks(2, [](const communicator& me) {
        clipped_moments<double> m(5, {.mode = clipping::online});
        try {
            m.merge_observed(me);
        } catch (const value_error&) {
            return 1;
        }
        return 0;
    });
    CHECK(refused == std::vector<int>{1, 1});
}

TEST_CASE("bad batches and settings are refused, and leave the moments alone") {
    const auto X = random_batch(3, 10, 4);
    clipped_moments<double> moments(4, {.name = "q_proj inputs"});
    CHECK_THROWS_AS(moments.finish(), value_error);
    CHECK_THROWS_AS(moments.add_batch(backend, X), value_error);  // before observe
    moments.observe(backend, X);
    moments.add_batch(backend, X);
    const vector<double> before = moments.finish();
    auto bad = X;
    bad(3, 2) = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(moments.add_batch(backend, bad), "q_proj inputs (10x4) are not finite at token 3",
                         value_error);
    CHECK_THROWS_AS(moments.add_batch(backend, random_batch(3, 10, 5)), shape_error);
    CHECK_THROWS_AS(moments.add_batch(backend, matrix<double>(0, 4)), value_error);
    CHECK(moments.finish() == before);
    CHECK_THROWS_AS(moments.observe(backend, X), value_error);  // the bound of what was added would be another

    CHECK_THROWS_AS(clipped_moments<double>(0), value_error);
    CHECK_THROWS_AS(clipped_moments<double>(4, {.keep = percentile{0}}), value_error);
    clipped_moments<double> unseen(4, {.mode = clipping::two_phase});
    CHECK_THROWS_AS(unseen.add_batch(backend, X), value_error);
    CHECK_THROWS_AS(shrink(before, 1.5), value_error);
}

TEST_CASE("shrinkage keeps the mean and contracts toward it") {
    CHECK(rc::check("mean kept, spread times 1 - gamma", [](std::uint64_t seed) {
        const auto v = vector<double>(random_batch(seed, 1, *rc::gen::inRange<index>(1, 30)).cwiseAbs().transpose());
        const double gamma = *rc::gen::element(0.0, 0.2, 0.4, 1.0);
        const auto w = shrink(v, gamma);
        RC_ASSERT(std::abs(w.mean() - v.mean()) <= 1e-12);
        RC_ASSERT(((w.array() - w.mean()) - (1 - gamma) * (v.array() - v.mean())).abs().maxCoeff() <= 1e-12);
    }));
}

}  // namespace subbit::testing
