// Rows in 32, 16 and 8 bits: what rounding costs is bounded, and a product is that of the rounded rows.
#include "model/row_table.hpp"
#include "../support/strided.hpp"
#include "../support/throws.hpp"

#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace llama {
namespace {

using subbit::const_span;
using subbit::matrix;
using subbit::span_of;
using subbit::vector;
using subbit::testing::make_cpu;
using subbit::testing::random_matrix;
using subbit::testing::runnable_isas;

constexpr row_format all_formats[] = {row_format::f32, row_format::bf16, row_format::int8};
constexpr std::pair<index, index> sizes[] = {{1, 1}, {5, 7}, {300, 576}, {70, 4099}, {2050, 33}};

row_table table_of(row_format format, const matrix<float>& W) {
    row_table table(format, W.rows(), W.cols());
    for (index i = 0; i < W.rows(); ++i)
        table.set_row(i, {&W(i, 0), static_cast<std::size_t>(W.cols())});
    return table;
}

matrix<float> rows_of(const row_table& table) {
    matrix<float> W(table.rows(), table.cols());
    for (index i = 0; i < W.rows(); ++i)
        table.read_row(i, {&W(i, 0), static_cast<std::size_t>(W.cols())});
    return W;
}

template <class B>
vector<float> product(const B& b, const row_table& table, const vector<float>& x) {
    vector<float> y(table.rows());
    table.multiply(b, const_span(x), span_of(y));
    return y;
}

}  // namespace

TEST_CASE("rows come back rounded to nearest") {
    for (const auto& [rows, cols] : sizes) {
        const auto W = random_matrix<float>(rows, cols, 1);
        CHECK(rows_of(table_of(row_format::f32, W)) == W);
        const auto bf16 = rows_of(table_of(row_format::bf16, W));
        CHECK(((bf16 - W).array().abs() <= W.array().abs() / 256).all());
        const auto int8 = rows_of(table_of(row_format::int8, W));
        for (index i = 0; i < rows; ++i) {
            const float largest = W.row(i).cwiseAbs().maxCoeff();
            CHECK((int8.row(i) - W.row(i)).cwiseAbs().maxCoeff() <= largest / 254 * 1.0001F);
            CHECK(int8.row(i).cwiseAbs().maxCoeff() == doctest::Approx(largest));
        }
    }
    const matrix<float> zero = matrix<float>::Zero(2, 40);
    for (const row_format format : all_formats)
        CHECK(rows_of(table_of(format, zero)) == zero);
}

TEST_CASE("a product is that of the rounded rows, within the stated bounds") {
    for (const auto& [rows, cols] : sizes) {
        const auto W = random_matrix<float>(rows, cols, 1);
        const vector<float> x = random_matrix<float>(cols, 1, 2);
        const double x_sum = x.cwiseAbs().cast<double>().sum(), x_most = x.cwiseAbs().maxCoeff();
        for (const row_format format : all_formats) {
            const auto table = table_of(format, W);
            const matrix<double> rounded = rows_of(table).cast<double>();
            const vector<double> expected = rounded * x.cast<double>(), exact = W.cast<double>() * x.cast<double>();
            // x is rounded to steps of its largest entry over `most`; float32 sums lose less than cols units.
            const double most = std::min(32767.0, std::floor(2147483647.0 / 127.0 / static_cast<double>(cols)));
            const double step = format == row_format::int8 ? x_most / most : 0;
            for (const subbit::isa i : runnable_isas()) {
                const vector<double> y = product(make_cpu(i), table, x).cast<double>();
                for (index r = 0; r < rows; ++r) {
                    const double row_sum = rounded.row(r).cwiseAbs().sum(), largest = W.row(r).cwiseAbs().maxCoeff();
                    const double of_sum = 6e-8 * static_cast<double>(cols) * largest * 2 * x_most;
                    CHECK(std::abs(y(r) - expected(r)) <= row_sum * step / 2 + of_sum + 1e-6 * std::abs(expected(r)));
                    // What a format costs: half a unit of the row for each entry of x.
                    const double unit = format == row_format::f32    ? 0
                                        : format == row_format::bf16 ? largest / 128
                                                                     : largest / 127;
                    CHECK(std::abs(y(r) - exact(r)) <=
                          (unit / 2 * x_sum + row_sum * step / 2 + of_sum) * 1.0001 + 1e-6 * std::abs(exact(r)));
                }
            }
        }
    }
}

TEST_CASE("8-bit products are integers: the largest ones fit, and every machine and number of threads has the same") {
    for (const index cols : {1, 64, 576, 4096, 20000}) {
        const auto table = table_of(row_format::int8, matrix<float>::Constant(3, cols, -2.0F));
        const vector<float> x = vector<float>::Constant(cols, -0.5F);
        for (const float y : product(subbit::cpu(), table, x))
            CHECK(y == doctest::Approx(static_cast<double>(cols)).epsilon(1e-3));
    }
    const auto table = table_of(row_format::int8, random_matrix<float>(5000, 130, 3));
    const vector<float> x = random_matrix<float>(130, 1, 4);
    const auto expected = product(subbit::reference<float>(), table, x);
    for (const subbit::isa i : runnable_isas())
        for (const int threads : {1, 2, 3})
            CHECK(product(make_cpu(i, threads), table, x) == expected);
}

TEST_CASE("one and two threads give the same bits in every format") {
    const auto W = random_matrix<float>(5000, 100, 5);
    const vector<float> x = random_matrix<float>(100, 1, 6);
    for (const row_format format : all_formats)
        for (const subbit::isa i : runnable_isas()) {
            const auto table = table_of(format, W);
            CHECK(product(make_cpu(i, 1), table, x) == product(make_cpu(i, 2), table, x));
        }
}

TEST_CASE("what is not finite goes through; sizes and words are checked") {
    for (const row_format format : all_formats) {
        const auto table = table_of(format, random_matrix<float>(4, 20, 1));
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            vector<float> x = random_matrix<float>(20, 1, 2);
            x(7) = bad;
            for (const float y : product(subbit::cpu(), table, x))
                CHECK_FALSE(std::isfinite(y));
        }
        CHECK(product(subbit::cpu(), table, vector<float>::Zero(20)) == vector<float>::Zero(4));
        vector<float> x(19), y(4);
        subbit::testing::check_throws<subbit::shape_error>(
            [&] { table.multiply(subbit::cpu(), const_span(std::as_const(x)), span_of(y)); }, {"19", "20"});
        subbit::testing::check_throws<subbit::shape_error>([&] { table.read_row(0, span_of(x)); }, {"19", "20"});
    }
    CHECK(parse_row_format("bf16") == row_format::bf16);
    subbit::testing::check_throws<subbit::value_error>([] { parse_row_format("int4"); }, {"int4", "f32, bf16 or int8"});
}

}  // namespace llama
