// Losses against plain formulas, and their gradients against finite differences.
#include "../support/finite_differences.hpp"
#include "../support/strided.hpp"
#include "../support/throws.hpp"

#include <subbit/train/losses.hpp>

#include <doctest/doctest.h>
#include <limits>
#include <numeric>

namespace subbit::testing {
namespace {

const reference<double> exact;

matrix<double> softmax(const matrix<double>& logits) {
    matrix<double> p = (logits.colwise() - logits.rowwise().maxCoeff()).array().exp();
    p.array().colwise() /= p.rowwise().sum().array().eval();
    return p;
}

}  // namespace

TEST_CASE("weighted squared error and its gradient") {
    auto Y = random_matrix<double>(19, 7, 1);
    const auto target = random_matrix<double>(19, 7, 2);
    const vector<double> importance = random_matrix<double>(7, 1, 3).cwiseAbs();
    matrix<double> gradient(19, 7), unused(19, 7);
    for (const bool weighted : {true, false}) {
        const auto weights = weighted ? span_of(importance) : std::span<const double>();
        const vector<double> w = weighted ? importance : vector<double>::Ones(7);
        const auto loss = [&] {
            return total_of(exact, [&](auto total) {
                weighted_squared_error(exact, const_view(Y), const_view(target), weights, view(unused), total);
            });
        };
        const double value = loss();
        gradient = unused;
        CHECK(weighted_square(exact, const_view(Y), weights) ==
              doctest::Approx((Y.cwiseAbs2() * w).sum()).epsilon(1e-12));
        CHECK(value == doctest::Approx(((Y - target).cwiseAbs2() * w).sum()).epsilon(1e-12));
        CHECK(gradient_error(entries(Y), entries(gradient), loss) < 1e-8);
    }
    double total = 0;
    CHECK_THROWS_AS(weighted_squared_error(exact, const_view(Y), const_view(target), span_of(importance).first(6),
                                           view(gradient), std::span(&total, 1)),
                    shape_error);
}

TEST_CASE("the relative squared error counts every token alike, and adds its gradient") {
    auto Y = random_matrix<double>(9, 7, 1), target = random_matrix<double>(9, 7, 2);
    target.row(3) *= 1e3;  // a token with a massive activation
    matrix<double> gradient = matrix<double>::Constant(9, 7, 2.0), unused(9, 7);
    const auto loss = [&] {
        return total_of(exact, [&](auto total) {
            relative_squared_error(exact, const_view(Y), const_view(target), 0.3, view(unused), total);
        });
    };
    double expected = 0;
    for (index t = 0; t < 9; ++t)
        expected += 0.3 / 9 * (Y.row(t) - target.row(t)).squaredNorm() / target.row(t).squaredNorm();
    double total = 0;
    relative_squared_error(exact, const_view(Y), const_view(target), 0.3, view(gradient), std::span(&total, 1));
    CHECK(total == doctest::Approx(expected).epsilon(1e-12));
    gradient.array() -= 2.0;
    CHECK(gradient_error(entries(Y), entries(gradient), loss) < 1e-8);
    CHECK_THROWS_AS(relative_squared_error(exact, const_view(Y), const_view(target).middle_rows(0, 8), 0.3,
                                           view(gradient), std::span(&total, 1)),
                    shape_error);
}

TEST_CASE("cross entropy over several chunks of tokens, and both its gradients") {
    const index tokens = vocabulary_chunk + 9, d = 3, words = 11;
    auto hidden = random_matrix<double>(tokens, d, 1), head = random_matrix<double>(words, d, 2);
    std::vector<std::int32_t> labels;
    for (index t = 0; t < tokens; ++t)
        labels.push_back(t % 5 == 4 ? -1 : static_cast<std::int32_t>(t * 7 % words));
    const std::span<const std::int32_t> wanted(labels);
    const double weight = 0.3;
    const auto loss = [&] {
        return weight *
               cross_entropy(exact, const_view(hidden), const_view(head), wanted, weight, matrix_view<double>());
    };
    const auto p = softmax(hidden * head.transpose());
    double expected = 0;
    for (index t = 0; t < tokens; ++t)
        if (labels[static_cast<std::size_t>(t)] >= 0) expected -= std::log(p(t, labels[static_cast<std::size_t>(t)]));
    CHECK(loss() == doctest::Approx(weight * expected).epsilon(1e-12));

    matrix<double> d_hidden(tokens, d), d_head = matrix<double>::Constant(words, d, 2.0);
    cross_entropy(exact, const_view(hidden), const_view(head), wanted, weight, view(d_hidden), view(d_head));
    d_head.array() -= 2.0;  // the head's gradient is added to what was there
    CHECK(gradient_error(entries(hidden), entries(d_hidden), loss) < 1e-7);
    CHECK(gradient_error(entries(head), entries(d_head), loss) < 1e-7);
    CHECK_THROWS_AS(cross_entropy(exact, const_view(hidden), const_view(head), wanted.first(3), 1.0, view(d_hidden)),
                    shape_error);
}

TEST_CASE("forward KL divergence over several chunks, and its gradient") {
    const index tokens = vocabulary_chunk + 2, d = 2, words = 259;
    const auto teacher = random_matrix<double>(tokens, d, 1), head = random_matrix<double>(words, d, 2);
    auto student = random_matrix<double>(tokens, d, 3);
    const double weight = 1.7;
    const auto value = [&](const matrix<double>& s) {
        return forward_kl(exact, const_view(teacher), const_view(s), const_view(head), 1.0, matrix_view<double>());
    };
    const auto p = softmax(teacher * head.transpose()), q = softmax(student * head.transpose());
    CHECK(value(student) == doctest::Approx((p.array() * (p.array() / q.array()).log()).sum()).epsilon(1e-12));
    CHECK(std::abs(value(teacher)) < 1e-12);
    matrix<double> gradient(tokens, d);
    forward_kl(exact, const_view(teacher), const_view(student), const_view(head), weight, view(gradient));
    CHECK(directional_error(entries(student), entries(gradient), [&] { return weight * value(student); }) < 1e-7);
    matrix<double> at_teacher(tokens, d);
    forward_kl(exact, const_view(teacher), const_view(teacher), const_view(head), weight, view(at_teacher));
    CHECK(at_teacher.cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("hard labels replace a share of the divergence, over several chunks, and so does their gradient") {
    const index tokens = vocabulary_chunk + 2, d = 2, words = 259, labelled = tokens - 1;
    const auto teacher = random_matrix<double>(tokens, d, 1), head = random_matrix<double>(words, d, 2);
    auto student = random_matrix<double>(tokens, d, 3);
    std::vector<std::int32_t> ids;
    for (index t = 0; t < labelled; ++t)
        ids.push_back(static_cast<std::int32_t>(7 * t % words));
    const double share = 0.3, weight = 1.7;
    std::vector<double> losses(static_cast<std::size_t>(tokens)), plain = losses;
    matrix<double> gradient(tokens, d);
    forward_kl(exact, const_view(teacher), const_view(student), const_view(head), weight, view(gradient), losses,
               hard_labels{ids, share});
    forward_kl(exact, const_view(teacher), const_view(student), const_view(head), weight, matrix_view<double>(), plain,
               hard_labels{ids, 0});
    const auto q = softmax(student * head.transpose());
    for (index t = 0; t < tokens; ++t) {
        const auto i = static_cast<std::size_t>(t);
        const double expected =
            t < labelled ? (1 - share) * plain[i] - share * std::log(q(t, ids[i])) : plain[i];  // the last has no label
        CHECK(losses[i] == doctest::Approx(expected).epsilon(1e-12));
    }
    const auto value = [&] {
        std::vector<double> all(losses.size());
        forward_kl(exact, const_view(teacher), const_view(student), const_view(head), 1.0, matrix_view<double>(), all,
                   hard_labels{ids, share});
        return weight * std::accumulate(all.begin(), all.end(), 0.0);
    };
    CHECK(directional_error(entries(student), entries(gradient), value) < 1e-7);
}

TEST_CASE("losses on one and on two threads give the same bits") {
    const auto teacher = random_matrix<float>(150, 8, 1), student = random_matrix<float>(150, 8, 2),
               head = random_matrix<float>(300, 8, 3);
    matrix<float> d_one(150, 8), d_two(150, 8);
    const cpu one({.threads = 1}), two({.threads = 2});
    const double a = forward_kl(one, const_view(teacher), const_view(student), const_view(head), 1.0, view(d_one));
    const double b = forward_kl(two, const_view(teacher), const_view(student), const_view(head), 1.0, view(d_two));
    CHECK(a == b);
    CHECK(d_one == d_two);
    const auto value = forward_kl(exact, const_view(matrix<double>(teacher.cast<double>())),
                                  const_view(matrix<double>(student.cast<double>())),
                                  const_view(matrix<double>(head.cast<double>())), 1.0, matrix_view<double>());
    CHECK(a == doctest::Approx(value).epsilon(1e-4));
}

TEST_CASE("the logits that are held at once are bounded, whatever the vocabulary") {
    CHECK(logits_at_once<cpu>(1000, 32000) == vocabulary_chunk);
    CHECK(logits_at_once<cpu>(1000, 262144) == 128);
    CHECK(logits_at_once<cpu>(5, 262144) == 5);
    CHECK(logits_at_once<cpu>(1000, index{1} << 40) == 1);
    CHECK_THROWS_AS(logits_at_once<cpu>(1000, 0), value_error);
}

TEST_CASE("labels beyond the vocabulary and gradients of another shape are refused") {
    const auto hidden = random_matrix<double>(3, 4, 1), head = random_matrix<double>(5, 4, 2);
    matrix<double> gradient(3, 4), wrong(2, 4);
    std::vector<std::int32_t> labels{0, 5, -1};
    const auto run = [&](matrix<double>& out) {
        return cross_entropy(exact, const_view(hidden), const_view(head), labels, 1.0, view(out));
    };
    check_throws<value_error>([&] { run(gradient); }, {"label 5", "below 5"});
    labels[1] = 4;
    CHECK_NOTHROW(run(gradient));
    check_throws<shape_error>([&] { run(wrong); }, {"d_hidden", "2x4", "3x4"});
}

TEST_CASE("straight-through estimators: values, and how they are applied") {
    using enum straight_through;
    for (const double x : {-3.0, -0.5, 0.0, 0.5, 3.0})
        CHECK(straight_through_derivative(identity, x) == 1.0);
    CHECK(straight_through_derivative(clipped, 0.999) == 1.0);
    CHECK(straight_through_derivative(clipped, -1.0) == 0.0);
    CHECK(straight_through_derivative(clipped, 1.5) == 0.0);
    for (const double x : {-0.02, -0.001, 0.0, 0.003, 0.01}) {
        const double slope = (std::tanh(100 * (x + 1e-7)) - std::tanh(100 * (x - 1e-7))) / 2e-7;
        CHECK(straight_through_derivative(smooth, x) == doctest::Approx(slope).epsilon(1e-6));
    }
    const auto latent = random_matrix<double>(33, 9, 1), gradient = random_matrix<double>(33, 9, 2);
    for (const auto kind : {identity, clipped, smooth}) {
        auto have = gradient;
        apply_straight_through(exact, kind, const_view(latent), view(have));
        const matrix<double> want =
            gradient.cwiseProduct(latent.unaryExpr([&](double x) { return straight_through_derivative(kind, x); }));
        CHECK(have == want);
    }
    matrix<double> wrong(3, 9);
    CHECK_THROWS_AS(apply_straight_through(exact, clipped, const_view(latent), view(wrong)), shape_error);
}

}  // namespace subbit::testing
