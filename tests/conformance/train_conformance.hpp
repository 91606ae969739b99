// Checks of what training does to rows, parameters and losses (backend/ops/rows.hpp, train.hpp), and of products of
// 8-bit rows (backend/ops/bytes.hpp).
#pragma once

#include "conformance/conformance_tools.hpp"

#include <subbit/backend/ops/bytes.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace subbit::testing {

template <class S, class B>
class train_conformance : conformance_tools<S, B> {
  public:
    explicit train_conformance(const B& backend) : tools(backend) {}

    void check(index m, index n) const {
        check_columns(m, n);
        check_token_sums(m, n);
        check_gather(m, n);
        check_estimators(m, n);
        check_margins(m, n);
        check_adamw(m, n);
        check_squared_errors(m, n);
        check_cross_entropy(m, n);
        check_forward_kl(m, n);
        check_bytes(m, n);
    }
    void check(index m, index k, index n) const { check_multiply_rows(m, k, n); }

    void check_errors() const {
        const auto X = up(normal(3, 4));
        auto Y = up(normal(3, 3));
        const auto factor = up_vector(normal(3, 1));
        auto sums = allocate<S>(b, 3);
        CHECK_THROWS_AS(scale_columns(b, const_view(X), const_span(factor), view(Y)), shape_error);
        CHECK_THROWS_AS(token_sums(b, const_view(X), span_of(sums)), shape_error);
        CHECK_THROWS_AS(token_sums(b, const_view(Y).t(), span_of(sums)), shape_error);
        CHECK_THROWS_AS(multiply_rows(b, const_view(X), const_view(Y), view(Y)), shape_error);
        auto loss = allocate<double>(b, 1);
        CHECK_THROWS_AS(
            weighted_squared_error(b, const_view(X), const_view(Y), std::span<const S>(), view(Y), span_of(loss)),
            shape_error);
    }

  private:
    using tools = conformance_tools<S, B>;
    using tools::all, tools::product_bound, tools::sizes;
    using tools::b, tools::oracle, tools::eps, tools::nan;
    using tools::check_within, tools::check_near, tools::check_number, tools::check_equal;
    using tools::normal;
    using tools::up, tools::down, tools::up_vector, tools::down_vector;
    using typename tools::host;
    using typename tools::host_vector;
    using typename tools::numbers;

    void check_columns(index m, index n) const {
        const host X = normal(m, n, 50), Y = normal(m, n, 51);
        const host_vector f = normal(n, 1, 52);
        const auto x = up(X);
        const auto factor = up_vector(f);
        auto scaled = up(host::Constant(m, n, nan));
        scale_columns(b, const_view(x), const_span(factor), view(scaled));
        check_equal("scale_columns", down(scaled), X * f.asDiagonal());
        auto in_place = up(X);
        scale_columns(b, const_view(in_place), const_span(factor), view(in_place));
        check_equal("scale_columns in place", down(in_place), X * f.asDiagonal());
        auto sum = up(Y);
        add_scaled_columns(b, const_view(x), const_span(factor), view(sum));
        host expected = Y;
        add_scaled_columns(oracle, const_view(X), span_of(f), view(expected));
        check_within("add_scaled_columns", down(sum), expected, 2 * eps * (sizes(Y) + sizes(X * f.asDiagonal())));
        auto shifted = up(X);
        add_to_rows(b, view(shifted), const_span(factor));
        expected = X.rowwise() + f.transpose();
        check_equal("add_to_rows", down(shifted), expected);
    }

    void check_token_sums(index m, index n) const {
        const host X = normal(m, n, 53), Y = normal(m, n, 54);
        const host_vector f = normal(n, 1, 55);
        const auto x = up(X), y = up(Y);
        const auto factor = up_vector(f);
        const double rounding = 2 * static_cast<double>(m + 4) * eps;
        const numbers dots_bound = rounding * sizes(X.cwiseProduct(Y)).colwise().sum().transpose();
        const numbers sums_bound = rounding * sizes(X).colwise().sum().transpose();
        auto sums = up_vector(host_vector::Constant(n, nan));
        host_vector expected(n);
        token_dots(b, const_view(x), const_view(y), span_of(sums));
        token_dots(oracle, const_view(X), const_view(Y), span_of(expected));
        check_within("token_dots", down_vector(sums), expected, dots_bound);
        auto scaled = up(X);
        sums = up_vector(host_vector::Constant(n, nan));
        token_dots_and_scale(b, view(scaled), const_view(y), span_of(sums), const_span(factor));
        check_within("token_dots_and_scale: sums", down_vector(sums), expected, dots_bound);
        check_equal("token_dots_and_scale: X", down(scaled), X * f.asDiagonal());
        token_sums(b, const_view(x), span_of(sums));
        token_sums(oracle, const_view(X), span_of(expected));
        check_within("token_sums", down_vector(sums), expected, sums_bound);
    }

    void check_multiply_rows(index m, index k, index n) const {
        const host X = normal(m, k, 56), W = normal(n, k, 57);
        auto Y = up(host::Constant(m, n, nan));
        const auto x = up(X), w = up(W);
        multiply_rows(b, const_view(x), const_view(w), view(Y));
        host expected(m, n);
        multiply_rows(oracle, const_view(X), const_view(W), view(expected));
        check_within("multiply_rows", down(Y), expected, product_bound(X, W.transpose()));
    }

    void check_gather(index m, index n) const {
        const host table = normal(m, n, 58);
        std::vector<std::int32_t> ids;
        for (index t = 0; t < 9; ++t)
            ids.push_back(static_cast<std::int32_t>(t * 7 % m));
        host expected(9, n);
        for (index t = 0; t < 9; ++t)
            expected.row(t) = table.row(ids[static_cast<std::size_t>(t)]);
        const auto device = up(table);
        auto X = up(host::Constant(9, n, nan));
        gather_rows(b, const_view(device), ids, view(X));
        check_equal("gather_rows", down(X), expected);
        X = up(host::Constant(9, n, nan));
        const auto known = upload(b, std::span<const std::int32_t>(ids));
        gather_known_rows(b, const_view(device), const_span(known), view(X));
        check_equal("gather_known_rows", down(X), expected);
        for (const index outside : {index{-1}, m}) {
            ids.back() = static_cast<std::int32_t>(outside);
            CHECK_THROWS_AS(gather_rows(b, const_view(device), ids, view(X)), value_error);
        }
    }

    void check_estimators(index m, index n) const {
        const host gradient = normal(m, n, 60);
        for (const auto kind : {straight_through::identity, straight_through::clipped, straight_through::smooth})
            for (const double spread : {1.0, 0.01}) {
                const host latent = normal(m, n, 59) * static_cast<S>(spread);
                host expected = gradient;
                apply_straight_through(oracle, kind, const_view(latent), view(expected));
                const auto x = up(latent);
                auto got = up(gradient);
                apply_straight_through(b, kind, const_view(x), view(got));
                // 100 (1 - tanh^2), where the square is near 1
                check_within("apply_straight_through", down(got), expected, 2e3 * eps * sizes(gradient));
            }
    }

    void check_margins(index m, index n) const {
        host_vector x = normal(m * n, 1, 61);
        x(0) = S(0);
        auto device = up_vector(x);
        const double mean = mean_magnitude(oracle, std::span<const S>(span_of(x)));
        check_number("mean_magnitude", mean_magnitude(b, std::span<const S>(const_span(device))), mean, 1e-12);
        CHECK(mean_magnitude(b, std::span<const S>()) == 0);
        host_vector expected = x;
        widen_margin(oracle, span_of(expected), 0.5);
        widen_margin(b, span_of(device), 0.5);
        // The margin is half of a mean, which is as near as that above.
        const double bound = 4 * eps * sizes(expected).maxCoeff() + 0.5e-12 * mean;
        check_within("widen_margin", down_vector(device), expected, all(m * n, 1, bound));
    }

    /// A step of two slots at once; and a sum of numbers in double.
    void check_adamw(index m, index n) const {
        const adamw_options options{.weight_decay = 0.1};
        const vector<double> step{{0.5, 0.19, 3, 0.25}};
        const auto device_step = upload(b, step);
        std::vector<host_vector> wanted;
        std::vector<decltype(up_vector(step.template cast<S>()))> got;
        for (const index size : {m, m * n})
            for (std::uint64_t part = 0; part < 4; ++part) {
                wanted.push_back(normal(size, 1, 62 + part));
                if (part == 2) wanted.back() = wanted.back().cwiseAbs();  // the second moment
            }
        for (const auto& part : wanted)
            got.push_back(up_vector(part));
        const auto update = [&](const auto& on, auto& parts, const auto& now) {
            std::vector<adamw_slot<S>> slots;
            for (std::size_t s = 0; s < 8; s += 4)
                slots.push_back({span_of(parts[s]).data(), span_of(parts[s + 1]).data(), span_of(parts[s + 2]).data(),
                                 span_of(parts[s + 3]).data(), std::ssize(span_of(parts[s])), s == 0 ? 0.01 : 0.3});
            adamw_update(on, options, std::span<const adamw_slot<S>>(slots), const_span(now));
        };
        update(oracle, wanted, step);
        update(b, got, device_step);
        for (std::size_t part = 0; part < 8; ++part) {
            CAPTURE(part);
            check_near("adamw_update", down_vector(got[part]), wanted[part], part % 4 == 3 ? 64 : 8);
        }
        const vector<double> terms = normal(m * n, 1, 66).template cast<double>().cwiseAbs();
        const auto device = upload(b, terms);
        for (const double factor : {0.5, -2.0}) {
            const double total = total_of(b, [&](auto sum) { add_to_total(b, const_span(device), factor, sum); });
            check_number("add_to_total", total, factor * terms.sum(), 1e-12);
        }
    }

    void check_squared_errors(index m, index n) const {
        const host Y = normal(m, n, 67), target = normal(m, n, 68), before = normal(m, n, 69);
        const host_vector importance = normal(n, 1, 70).cwiseAbs();
        const auto y = up(Y), t = up(target);
        const auto device_importance = up_vector(importance);
        for (const bool weighted : {false, true}) {
            const auto weights = weighted ? const_span(importance) : std::span<const S>();
            const auto device_weights =
                weighted ? std::span<const S>(const_span(device_importance)) : std::span<const S>();
            host expected(m, n);
            auto got = up(host::Constant(m, n, nan));
            const double loss = total_of(oracle, [&](auto total) {
                weighted_squared_error(oracle, const_view(Y), const_view(target), weights, view(expected), total);
            });
            const double device_loss = total_of(b, [&](auto total) {
                weighted_squared_error(b, const_view(y), const_view(t), device_weights, view(got), total);
            });
            check_number("weighted_squared_error", device_loss, loss, 16 * eps);
            check_near("weighted_squared_error: gradient", down(got), expected, 8);
            check_number("weighted_square", weighted_square(b, const_view(y), device_weights),
                         weighted_square(oracle, const_view(Y), weights), 16 * eps);
        }
        host expected = before;
        auto got = up(before);
        const double loss = total_of(oracle, [&](auto total) {
            relative_squared_error(oracle, const_view(Y), const_view(target), 0.5, view(expected), total);
        });
        const double device_loss = total_of(
            b, [&](auto total) { relative_squared_error(b, const_view(y), const_view(t), 0.5, view(got), total); });
        check_number("relative_squared_error", device_loss, loss, 16 * eps);
        check_near("relative_squared_error: gradient", down(got), expected, 8);
    }

    void check_cross_entropy(index tokens, index vocabulary) const {
        const host logits = normal(tokens, vocabulary, 71) * S(3);
        std::vector<std::int32_t> labels;
        for (index t = 0; t < tokens; ++t)
            labels.push_back(t % 5 == 4 ? -1 : static_cast<std::int32_t>(t * 3 % vocabulary));
        const auto device_labels = upload(b, std::span<const std::int32_t>(labels));
        for (const bool gradient : {false, true}) {
            host expected = logits;
            auto got = up(logits);
            vector<double> losses(tokens);
            auto device_losses = allocate<double>(b, tokens);
            cross_entropy_rows(oracle, view(expected), std::span<const std::int32_t>(labels), 0.5, gradient,
                               span_of(losses));
            cross_entropy_rows(b, view(got), const_span(device_labels), 0.5, gradient, span_of(device_losses));
            check_losses("cross_entropy_rows", download(b, device_losses), losses);
            check_within("cross_entropy_rows: gradient", down(got), expected,
                         all(tokens, vocabulary, gradient ? 64 * eps : 0));
        }
    }

    /// All tokens but the last have a label.
    void check_forward_kl(index tokens, index vocabulary) const {
        const host teacher = normal(tokens, vocabulary, 72) * S(3), student = normal(tokens, vocabulary, 73) * S(3);
        std::vector<std::int32_t> ids;
        for (index t = 0; t + 1 < tokens; ++t)
            ids.push_back(static_cast<std::int32_t>((5 * t + 3) % vocabulary));
        const auto device_ids = upload(b, std::span<const std::int32_t>(ids));
        const auto device_teacher = up(teacher);
        for (const double share : {0.0, 0.3}) {
            host expected = student;
            auto got = up(student);
            vector<double> losses(tokens);
            auto device_losses = allocate<double>(b, tokens);
            forward_kl_rows(oracle, const_view(teacher), view(expected), hard_labels{ids, share}, 0.5, span_of(losses));
            forward_kl_rows(b, const_view(device_teacher), view(got), hard_labels{const_span(device_ids), share}, 0.5,
                            span_of(device_losses));
            check_losses("forward_kl_rows", download(b, device_losses), losses);
            check_within("forward_kl_rows: gradient", down(got), expected, all(tokens, vocabulary, 64 * eps));
        }
    }

    /// Differences of logarithms and logits of some 10: their rounding is absolute.
    static void check_losses(const char* operation, const vector<double>& got, const vector<double>& expected) {
        check_numbers_within(operation, got, expected, all(expected.size(), 1, 256 * eps));
    }

    void check_bytes(index m, index n) const {
        Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> W(m, n);
        vector<std::int16_t> x(n);
        const random_stream random(static_cast<std::uint64_t>(m * 1000 + n), 74);
        for (index i = 0; i < W.size(); ++i)
            W.data()[i] =
                static_cast<std::int8_t>(static_cast<int>(random.below(static_cast<std::uint64_t>(i), 256)) - 128);
        for (index j = 0; j < n; ++j)
            x(j) = static_cast<std::int16_t>(
                static_cast<int>(random.below(static_cast<std::uint64_t>(W.size() + j), 4001)) - 2000);
        const auto w = upload(b, matrix<std::int8_t>(W));
        const auto device_x = upload(b, x);
        auto y = allocate<std::int32_t>(b, m);
        byte_products(b, const_view(w), const_span(device_x), span_of(y));
        const vector<std::int32_t> expected = W.template cast<std::int32_t>() * x.template cast<std::int32_t>();
        CHECK(download(b, y) == expected);
        auto short_y = allocate<std::int32_t>(b, m + 1);
        CHECK_THROWS_AS(byte_products(b, const_view(w), const_span(device_x), span_of(short_y)), shape_error);
    }
};

}  // namespace subbit::testing
