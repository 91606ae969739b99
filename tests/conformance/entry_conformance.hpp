// Checks of what works entry by entry or row by row, of sums, and of memory (backend/ops/).
#pragma once

#include "conformance/conformance_tools.hpp"

#include <subbit/backend/ops/memory.hpp>

namespace subbit::testing {

template <class S, class B>
class entry_conformance : conformance_tools<S, B> {
  public:
    explicit entry_conformance(const B& backend) : tools(backend) {}

    void check(index m) const {
        check_vectors(m);
        check_square(m);
    }
    void check(index m, index n) const {
        check_memory(m, n);
        check_owners(m, n);
        check_elementwise(m, n);
        check_signs(m, n);
        check_sums(m, n);
        check_normalize(m, n);
    }

    void check_errors() const {
        const auto X = up(normal(3, 4)), Y = up(normal(4, 3));
        auto C = allocate<S>(b, 3, 3);
        auto small = allocate<S>(b, 2);
        const auto ones = std::span<const S>(const_span(small));
        CHECK_THROWS_AS(scale(b, C, ones, ones), shape_error);
        CHECK_THROWS_AS(axpby(b, 1, X, 0, C), shape_error);
        CHECK_THROWS_AS(squared_distance(b, X, Y), shape_error);
    }

  private:
    using tools = conformance_tools<S, B>;
    using tools::all, tools::sizes;
    using tools::b, tools::oracle, tools::eps, tools::nan;
    using tools::check_within, tools::check_near, tools::check_number, tools::check_equal;
    using tools::normal, tools::integers;
    using tools::up, tools::down, tools::up_vector, tools::down_vector;
    using typename tools::host;
    using typename tools::host_vector;
    using typename tools::numbers;

    void check_memory(index m, index n) const {
        const host X = normal(m, n);
        check_equal("allocate", down(allocate<S>(b, m, n)), host::Zero(m, n));
        check_equal("upload, download", down(up(X)), X);
        check_equal("download of a transpose", down(view(up(X)).t()), X.transpose());
        auto filled = allocate<S>(b, m, n);
        fill_normal(b, random_stream(5, 6), filled);
        host expected(m, n);
        fill_normal(oracle, random_stream(5, 6), expected);
        check_near("fill_normal", down(filled), expected, 4);
    }

    void check_vectors(index n) const {
        const host_vector x = normal(n, 1);
        CHECK(down_vector(allocate<S>(b, n)) == host_vector::Zero(n));
        CHECK(down_vector(up_vector(x)) == x);
        CHECK(download(b, upload(b, x)) == x);
        CHECK(on_host(b, upload(b, x)) == x);
        auto over = allocate<S>(b, n);
        upload(b, std::span<const S>(span_of(x)), span_of(over));
        CHECK(down_vector(over) == x);
        reshape(b, over, n + 2);
        CHECK(std::ssize(span_of(over)) == n + 2);
        CHECK_THROWS_AS(upload(b, std::span<const S>(span_of(x)), span_of(over)), shape_error);
        const double total = total_of(b, [&](std::span<double> sum) { fill(b, 0.5, as_column(sum)); });
        CHECK(total == 0.5);
    }

    void check_owners(index m, index n) const {
        auto X = up(normal(3, 5));
        reshape(b, X, m, n);
        const auto shape = const_view(X);
        CHECK((shape.rows == m && shape.cols == n));
        fill(b, 0.25, X);
        check_equal("fill", down(X), host::Constant(m, n, S(0.25)));
        auto turned = up(host::Zero(n, m));
        fill(b, -2, view(turned).t());
        check_equal("fill of a transpose", down(turned), host::Constant(n, m, S(-2)));
        const host W = normal(m, n, 7);
        const bit_matrix packed = bit_matrix::pack(W);
        typename memory_of<B>::bits signs;
        take_bits(b, up(W), signs);
        CHECK(on_host(b, signs) == packed);
        CHECK(download(b, upload(b, packed)) == packed);
        check_equal("on_host", on_host(b, up(W)), W);
    }

    void check_square(index n) const {
        const host G = normal(n, n);
        const auto device = up(G);
        const double diagonal = sizes(G.diagonal()).sum();
        CHECK(std::abs(trace(b, device) - trace(oracle, G)) <= 4 * eps * diagonal);

        auto shifted = up(G);
        shift_diagonal(b, 0.25, shifted);
        host expected = G;
        shift_diagonal(oracle, 0.25, expected);
        check_equal("shift_diagonal", down(shifted), expected);

        for (const double relative : {0.5, -1e3}) {  // the second falls below the least
            auto regularized = up(G);
            const vector<double> penalty{{relative, 0.125}};
            const auto device_penalty = upload(b, span_of(penalty));
            regularize(b, const_span(device_penalty), 0.25, regularized);
            host ridge = G;
            regularize(oracle, span_of(penalty), 0.25, ridge);
            check_within("regularize", down(regularized), ridge, all(n, n, 8 * eps * (diagonal + 1)));
        }

        const host X = normal(n + 2, n);
        host symmetric(n, n);
        gram(oracle, X, symmetric);
        auto vectors = allocate<S>(b, n, n);
        symmetric_eigenvectors(b, up(symmetric), vectors);
        const numbers V = down(vectors).template cast<double>(), turned = V.transpose(),
                      A = symmetric.template cast<double>();
        const numbers rotated = product(product(turned, A), V), unit = product(turned, V);
        const double size = static_cast<double>(n) * eps, off = 32 * size * A.norm();
        check_numbers_within("symmetric_eigenvectors: not orthonormal", unit, numbers::Identity(n, n),
                             all(n, n, 16 * size));
        numbers eigenvalues = numbers::Zero(n, n);
        eigenvalues.diagonal() = rotated.diagonal();
        check_numbers_within("symmetric_eigenvectors: not diagonal", rotated, eigenvalues, all(n, n, off));
        for (index i = 1; i < n; ++i)
            CHECK(rotated(i, i) - rotated(i - 1, i - 1) <= off);
    }

    void check_elementwise(index m, index n) const {
        const host X = normal(m, n, 1), Y = normal(m, n, 2);
        const auto x = up(X), y = up(Y);
        const host_vector left = normal(m, 1, 3), right = normal(n, 1, 4);
        const auto device_left = up_vector(left), device_right = up_vector(right);

        for (const bool use_left : {false, true})
            for (const bool use_right : {false, true}) {
                const auto some = [](bool use, const auto& v) {
                    return use ? std::span<const S>(const_span(v)) : std::span<const S>();
                };
                auto scaled = up(X);
                scale(b, scaled, some(use_left, device_left), some(use_right, device_right));
                host expected = X;
                scale(oracle, expected, some(use_left, left), some(use_right, right));
                check_within("scale", down(scaled), expected, 4 * eps * sizes(expected));
            }
        auto turned = up(X.transpose());
        scale(b, view(turned).t(), std::span<const S>(const_span(device_left)), std::span<const S>());
        const host turned_expected = (left.asDiagonal() * X).transpose();
        check_equal("scale of a transpose", down(turned), turned_expected);

        const numbers size = sizes(X) + sizes(Y);
        auto sum = up(Y);
        axpby(b, 0.5, x, -2, sum);
        check_within("axpby", down(sum), host(S(0.5) * X - S(2) * Y), 4 * eps * size);
        auto copied = up(host::Constant(m, n, nan));
        axpby(b, 1, x, 0, copied);
        check_equal("axpby as a copy over NaN", down(copied), X);
        check_equal("copy_of a transpose", down(copy_of(b, view(x).t())), X.transpose());
        auto from_transpose = allocate<S>(b, n, m);
        axpby(b, 1, view(x).t(), 0, from_transpose);
        check_equal("axpby of a transpose", down(from_transpose), X.transpose());

        auto difference = allocate<S>(b, m, n);
        const vector<double> three_quarters = vector<double>::Constant(1, 0.75);
        const auto alpha = upload(b, span_of(three_quarters));
        scaled_difference(b, const_span(alpha), x, y, difference);
        check_within("scaled_difference", down(difference), host(S(0.75) * (X - Y)), 4 * eps * size);
        auto product = up(Y);
        hadamard(b, x, product);
        check_equal("hadamard", down(product), X.cwiseProduct(Y));
    }

    void check_signs(index m, index n) const {
        host X = integers(m, n, 2, 5);  // with zeros
        X(0, 0) = S(-0.0);
        const host Y = normal(m, n, 6);
        host expected = X;
        take_signs(oracle, expected);
        auto signs = up(X);
        take_signs(b, signs);
        check_equal("take_signs", down(signs), expected);
        CHECK(pack_signs(b, up(X)) == bit_matrix::pack(X));
        CHECK(pack_signs(b, view(up(X)).t()) == bit_matrix::pack(host(X.transpose())));
        auto copied = up(Y);
        copy_signs(b, up(X), copied);
        check_equal("copy_signs", down(copied), Y.cwiseAbs().cwiseProduct(expected));
    }

    void check_sums(index m, index n) const {
        const host X = normal(m, n, 7), Y = normal(m, n, 8);
        const auto x = up(X), y = up(Y);
        const double norm = squared_norm(oracle, X), distance = squared_distance(oracle, X, Y);
        check_number("squared_norm", squared_norm(b, x), norm, 1e-6 + 8 * eps);
        check_number("squared_distance", squared_distance(b, x, y), distance, 1e-5 + 8 * eps);
        check_number("squared_norm of a transpose", squared_norm(b, view(x).t()), norm, 1e-6 + 8 * eps);

        auto rows = allocate<S>(b, m), cols = allocate<S>(b, n);
        host_vector row_means(m), col_means(n), norms(n), dots(n);
        abs_row_means(b, x, span_of(rows));
        abs_row_means(oracle, X, span_of(row_means));
        check_near("abs_row_means", down_vector(rows), row_means, 8);
        abs_row_means(b, view(x).t(), span_of(cols));
        abs_row_means(oracle, view(X).t(), span_of(col_means));
        check_near("abs_row_means of a transpose", down_vector(cols), col_means, 8);
        column_norms(b, x, span_of(cols));
        column_norms(oracle, X, span_of(norms));
        check_near("column_norms", down_vector(cols), norms, 8);
        subbit::column_dots(b, x, y, span_of(cols));
        subbit::column_dots(oracle, X, Y, span_of(dots));
        const numbers magnitudes = sizes(X.cwiseProduct(Y)).colwise().sum().transpose();
        check_within("column_dots", down_vector(cols), dots, 8 * eps * magnitudes);

        const host_vector weights = normal(m, 1, 9);
        const auto device_weights = up_vector(weights);
        vector<double> expected = vector<double>::Ones(n);
        auto sums = upload(b, std::span<const double>(span_of(expected)));
        add_square_sums(b, x, std::span<const S>(const_span(device_weights)), span_of(sums));
        add_square_sums(oracle, X, span_of(weights), span_of(expected));
        const auto got = download(b, sums);
        for (index j = 0; j < n; ++j)
            check_number("add_square_sums", got(j), expected(j), 8 * eps);
    }

    void check_normalize(index m, index n) const {
        host Z = normal(m, n, 10);
        Z.col(n / 2).setZero();
        auto X = up(host::Constant(m, n, nan));
        normalize_columns(b, up(Z), X);
        host expected(m, n);
        normalize_columns(oracle, Z, expected);
        check_near("normalize_columns", down(X), expected, 8);
        auto turned = up(host::Constant(Z.cols(), Z.rows(), nan));
        normalize_columns(b, up(Z), view(turned).t());
        check_near("normalize_columns into a transpose", down(view(turned).t()), expected, 8);
    }
};

}  // namespace subbit::testing
