// AdamW, schedules, and what a phase of tuning is made of.
#include "../support/strided.hpp"

#include <subbit/recon/tuning.hpp>

#include <doctest/doctest.h>
#include <set>

namespace subbit::testing {
namespace {

/// Parameters of two kinds whose gradients a stream makes: the same for the same step.
struct two_parameters {
    vector<double> a = random_matrix<double>(37, 1, 1), b = random_matrix<double>(5, 1, 2);
    vector<double> da = vector<double>::Zero(37), db = vector<double>::Zero(5);

    std::vector<parameter<double>> list() {
        return {{"a", parameter_kind::latent, span_of(a), span_of(da)},
                {"b", parameter_kind::scale, span_of(b), span_of(db)}};
    }
    void make_gradients(std::uint64_t step) {
        da = random_matrix<double>(37, 1, 100 + step);
        db = 3 * random_matrix<double>(5, 1, 9000 + step);
    }
};

}  // namespace

TEST_CASE("AdamW equals the published recurrence over many steps") {
    const adamw_options options{.beta1 = 0.8, .beta2 = 0.97, .epsilon = 1e-5, .weight_decay = 0.1};
    two_parameters p;
    vector<double> x = p.a, first = vector<double>::Zero(37), second = first;
    const vector<double> still = p.b;
    adamw<double> optimizer(options);
    const auto list = p.list();
    for (std::uint64_t step = 1; step <= 200; ++step) {
        p.make_gradients(step);
        const double rate = 1e-2 / static_cast<double>(step);
        optimizer.step(reference<double>{}, std::span<const parameter<double>>(list), std::vector{rate, 0.0});
        for (index i = 0; i < 37; ++i) {
            first(i) = 0.8 * first(i) + 0.2 * p.da(i);
            second(i) = 0.97 * second(i) + 0.03 * p.da(i) * p.da(i);
            const double m = first(i) / (1 - std::pow(0.8, step)), v = second(i) / (1 - std::pow(0.97, step));
            x(i) -= rate * (m / (std::sqrt(v) + 1e-5) + 0.1 * x(i));
        }
    }
    CHECK((p.a - x).cwiseAbs().maxCoeff() < 1e-12);
    CHECK(p.b == still);  // a rate of zero
    CHECK(optimizer.steps() == 200);
    auto shorter = p.list();
    shorter.pop_back();
    CHECK_THROWS_AS(optimizer.step(reference<double>{}, std::span<const parameter<double>>(shorter), std::vector{0.1}),
                    shape_error);
}

TEST_CASE("cosine schedule") {
    const cosine_schedule plain{2.0, 0.25, 8, 0};
    CHECK(plain(0) == doctest::Approx(2.0));
    CHECK(plain(4) == doctest::Approx(2.0 * (0.25 + 0.75 * 0.5)));
    CHECK(plain(8) == doctest::Approx(0.5));
    CHECK(plain(80) == doctest::Approx(0.5));
    const cosine_schedule warm{1.0, 0.0, 12, 4};
    CHECK(warm(0) == doctest::Approx(0.25));
    CHECK(warm(3) == doctest::Approx(1.0));
    CHECK(warm(4) == doctest::Approx(1.0));
    CHECK(warm(8) == doctest::Approx(0.5));
    CHECK(warm(12) == doctest::Approx(0.0));
    CHECK(learning_rate::absolute(0.1).for_magnitude(7) == 0.1);
    CHECK(learning_rate::share_of_magnitude(0.1).for_magnitude(7) == doctest::Approx(0.7));
}

TEST_CASE("a tuner that is stopped and restored ends where an undisturbed one does") {
    phase_options options;
    options.latents = learning_rate::share_of_magnitude(0.05);
    options.scales = learning_rate::absolute(0.01);
    options.final_fraction = 0.1;
    options.warmup = 2;
    const reference<double> b;
    two_parameters whole, parts;
    tuner<double> undisturbed(b, whole.list(), options, 20), before(b, parts.list(), options, 20);
    CHECK(undisturbed.peaks()[0] == doctest::Approx(0.05 * whole.a.cwiseAbs().mean()));
    CHECK(undisturbed.peaks()[1] == 0.01);
    for (std::uint64_t step = 0; step < 20; ++step) {
        whole.make_gradients(step);
        undisturbed.step(b);
    }
    for (std::uint64_t step = 0; step < 7; ++step) {
        parts.make_gradients(step);
        before.step(b);
    }
    tuner<double> after(b, parts.list(), options, 20);
    CHECK(after.peaks() != before.peaks());
    after.restore(b, 7, before.moments(b), before.peaks());
    for (std::uint64_t step = 7; step < 20; ++step) {
        parts.make_gradients(step);
        after.step(b);
    }
    CHECK(parts.a == whole.a);
    CHECK(parts.b == whole.b);
}

TEST_CASE("windows are visited in an order of each epoch's and seed's own") {
    for (const index count : {0, 1, 2, 57}) {
        const auto order = visiting_order(3, 0, count);
        CHECK(std::ssize(order) == count);
        CHECK(std::set<index>(order.begin(), order.end()).size() == order.size());
        CHECK(std::all_of(order.begin(), order.end(), [&](index i) { return i >= 0 && i < count; }));
    }
    CHECK(visiting_order(3, 1, 57) == visiting_order(3, 1, 57));
    CHECK(visiting_order(3, 0, 57) != visiting_order(3, 1, 57));
    CHECK(visiting_order(3, 0, 57) != visiting_order(4, 0, 57));
    std::vector<int> first(3, 0);  // every window comes first about equally often
    for (std::size_t epoch = 0; epoch < 3000; ++epoch)
        ++first[static_cast<std::size_t>(visiting_order(1, epoch, 3)[0])];
    CHECK(std::all_of(first.begin(), first.end(), [](int n) { return std::abs(n - 1000) < 130; }));
}

TEST_CASE("what a phase trains is what has a rate") {
    phase_options options;
    options.scales = learning_rate::absolute(1e-3);
    options.norms = learning_rate::share_of_magnitude(1e-3);
    const auto train = options.what();
    CHECK((train.scales && train.norms));
    CHECK(!(train.weights || train.latents || train.biases));
}

}  // namespace subbit::testing
