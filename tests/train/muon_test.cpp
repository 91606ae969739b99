// Muon: what Newton-Schulz does to singular values, and the step made of it.
#include "../support/strided.hpp"
#include "../support/svd.hpp"

#include <subbit/recon/tuning.hpp>

#include <doctest/doctest.h>
#include <utility>

namespace subbit::testing {
namespace {

const reference<double> in_double;

/// A matrix and a vector, whose gradients a stream makes.
struct matrix_and_vector {
    matrix<double> A = random_matrix<double>(9, 5, 1), dA = matrix<double>::Zero(9, 5);
    vector<double> v = random_matrix<double>(7, 1, 2), dv = vector<double>::Zero(7);

    std::vector<parameter<double>> list() {
        return {matrix_parameter("A", parameter_kind::latent, A, dA),
                {"v", parameter_kind::scale, span_of(v), span_of(dv)}};
    }
    void make_gradients(std::uint64_t step) {
        const auto of_A = random_matrix<double>(9, 5, 100 + step);
        dA = of_A;  // a copy: a moved matrix would take its memory along, and parameters point to it
        dv = random_matrix<double>(7, 1, 900 + step);
    }
};

phase_options muon_phase() {
    phase_options options;
    options.matrices = matrix_optimizer::muon;
    options.latents = learning_rate::absolute(0.01);
    options.scales = learning_rate::absolute(0.02);
    return options;
}

}  // namespace

TEST_CASE("orthogonalization keeps the singular vectors and brings the values near one") {
    for (const auto& shape : {std::pair<index, index>{12, 12}, {9, 31}, {40, 7}, {1, 6}}) {
        const index rows = shape.first, cols = shape.second;
        CAPTURE(rows);
        const auto G = random_matrix<double>(rows, cols, 3);
        matrix<double> O = G;
        orthogonalize(in_double, O);
        const svd before(G);
        const matrix<double> inner = before.U.transpose() * O * before.V;
        for (index i = 0; i < inner.rows(); ++i)
            for (index j = 0; j < inner.cols(); ++j)
                if (i != j) CHECK(std::abs(inner(i, j)) < 1e-9);
        for (index i = 0; i < before.values.size(); ++i) {
            CAPTURE(before.values(i) / before.values(0));
            if (before.values(i) > 0.02 * before.values(0)) CHECK((inner(i, i) > 0.6 && inner(i, i) < 1.25));
        }
        matrix<float> single = G.cast<float>();
        orthogonalize(cpu({.threads = 2}), single);
        CHECK((single.cast<double>() - O).norm() < 1e-4 * O.norm());
    }
    matrix<double> zero = matrix<double>::Zero(4, 3);
    orthogonalize(in_double, zero);
    CHECK(zero.norm() == 0);
}

TEST_CASE("a step is momentum, made orthogonal, at the scale of AdamW's") {
    matrix_and_vector p;
    const matrix<double> start = p.A;
    muon<double> optimizer({.momentum = 0.9, .nesterov = true});
    const std::vector<parameter<double>> list = {p.list()[0]};
    matrix<double> moment = matrix<double>::Zero(9, 5), expected = start;
    for (std::uint64_t step = 0; step < 5; ++step) {
        p.make_gradients(step);
        optimizer.step(in_double, std::span<const parameter<double>>(list), std::vector{0.01});
        moment = 0.9 * moment + p.dA;
        matrix<double> direction = p.dA + 0.9 * moment;
        orthogonalize(in_double, direction);
        expected -= 0.01 * 3.0 * direction;  // the root of the longer side
    }
    CHECK((p.A - expected).cwiseAbs().maxCoeff() < 1e-12);
    CHECK((p.A - start).norm() / std::sqrt(45.0) < 5 * 0.01 * 1.3);
    const std::vector<parameter<double>> not_a_matrix = {p.list()[1]};
    muon<double> other;
    CHECK_THROWS_AS(other.step(in_double, std::span<const parameter<double>>(not_a_matrix), std::vector{0.1}),
                    shape_error);
}

TEST_CASE("a tuner gives matrices to Muon and vectors to AdamW, with half the moments, and goes on where it stopped") {
    matrix_and_vector whole, parts, adam_only;
    tuner<double> a(in_double, whole.list(), muon_phase(), 10), b(in_double, parts.list(), muon_phase(), 10);
    for (std::uint64_t step = 0; step < 4; ++step) {
        for (auto* p : {&whole, &parts})
            p->make_gradients(step);
        a.step(in_double);
        b.step(in_double);
    }
    const auto moments = b.moments(in_double);
    REQUIRE(moments.size() == 2);
    CHECK((moments[0].first.size() == 7 && moments[0].second.size() == 7));
    CHECK((moments[1].first.size() == 45 && moments[1].second.empty()));
    tuner<double> resumed(in_double, parts.list(), muon_phase(), 10);
    resumed.restore(in_double, 4, moments, b.peaks());
    for (std::uint64_t step = 4; step < 10; ++step) {
        for (auto* p : {&whole, &parts})
            p->make_gradients(step);
        a.step(in_double);
        resumed.step(in_double);
    }
    CHECK((whole.A == parts.A && whole.v == parts.v));
    auto options = muon_phase();
    options.matrices = matrix_optimizer::adamw;
    tuner<double> c(in_double, adam_only.list(), options, 10);
    for (std::uint64_t step = 0; step < 10; ++step) {
        adam_only.make_gradients(step);
        c.step(in_double);
    }
    CHECK((adam_only.v == whole.v && adam_only.A != whole.A));
}

TEST_CASE("gathered gradients are averaged, and forgotten after the step") {
    auto options = muon_phase();
    options.matrices = matrix_optimizer::adamw;
    matrix_and_vector gathered, direct;
    tuner<double> a(in_double, gathered.list(), options, 8), b(in_double, direct.list(), options, 8);
    for (std::uint64_t step = 0; step < 4; ++step) {
        matrix<double> sum = matrix<double>::Zero(9, 5);
        vector<double> vector_sum = vector<double>::Zero(7);
        for (index window = 0; window < 3; ++window) {
            gathered.make_gradients(10 * step + static_cast<std::uint64_t>(window));
            sum += gathered.dA;
            vector_sum += gathered.dv;
            a.gather(in_double, window, 3);
        }
        a.step(in_double, 3);
        direct.dA = sum / 3;
        direct.dv = vector_sum / 3;
        b.step(in_double);
    }
    CHECK((gathered.A - direct.A).norm() < 1e-12);
    CHECK((gathered.v - direct.v).norm() < 1e-12);
}

}  // namespace subbit::testing
