// Products of rows of bytes are integers: every instruction set and number of threads has those of the reference.
#include "support/strided.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <subbit/backend/cpu.hpp>

#include <vector>

namespace subbit::testing {
namespace {

template <class T>
std::vector<T> whole_numbers(index count, int least, int most, std::uint64_t seed) {
    const random_stream random(seed);
    std::vector<T> x(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = static_cast<T>(least + static_cast<int>(random.below(i, static_cast<std::uint32_t>(most - least + 1))));
    return x;
}

template <class B>
std::vector<std::int32_t> sums_of(const B& b, matrix_view<const std::int8_t> W, const std::vector<std::int16_t>& x) {
    std::vector<std::int32_t> y(static_cast<std::size_t>(W.rows), 12345);
    byte_products(b, W, x, y);
    return y;
}

}  // namespace

TEST_CASE("products of rows of bytes: every size and instruction set as the reference, and that as the definition") {
    for (const index rows : {0, 1, 2, 3, 7, 8, 11, 23})  // x86 takes up to eight at once
        for (const index cols : {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 576, 1001})
            for (const index stride : {cols, cols + 3}) {
                CAPTURE(rows);
                CAPTURE(cols);
                const auto w = whole_numbers<std::int8_t>(rows * stride, -128, 127, 1);
                const auto x = whole_numbers<std::int16_t>(cols, -10000, 10000, 2);
                const matrix_view<const std::int8_t> W(w.data(), rows, cols, stride);
                const auto expected = sums_of(reference<float>(), W, x);
                if (rows > 2 && cols > 2) {
                    std::int64_t sum = 0;
                    for (index j = 0; j < cols; ++j)
                        sum +=
                            std::int64_t{w[static_cast<std::size_t>(2 * stride + j)]} * x[static_cast<std::size_t>(j)];
                    CHECK(expected[2] == sum);
                }
                for (const isa i : runnable_isas())
                    CHECK(sums_of(make_cpu(i), W, x) == expected);
            }
}

TEST_CASE("products of rows of bytes: the largest numbers, and rows shared out to threads") {
    for (const int extreme : {-32768, 32767}) {
        const std::vector<std::int8_t> w(500, -128);
        const std::vector<std::int16_t> x(500, static_cast<std::int16_t>(extreme));
        for (const isa i : runnable_isas())
            CHECK(sums_of(make_cpu(i), {w.data(), 1, 500}, x) == std::vector<std::int32_t>{500 * -128 * extreme});
    }
    const auto w = whole_numbers<std::int8_t>(9001 * 700, -128, 127, 3);
    const auto x = whole_numbers<std::int16_t>(700, -2000, 2000, 4);
    const matrix_view<const std::int8_t> W(w.data(), 9001, 700);
    const auto expected = sums_of(reference<float>(), W, x);
    for (const isa i : runnable_isas())
        for (const int threads : {1, 2, 5})
            CHECK(sums_of(make_cpu(i, threads), W, x) == expected);
}

TEST_CASE("products of rows of bytes: shapes are checked") {
    const std::vector<std::int8_t> w(12);
    std::vector<std::int16_t> x(4);
    std::vector<std::int32_t> y(3);
    const matrix_view<const std::int8_t> W(w.data(), 3, 4);
    check_throws<shape_error>([&] { byte_products(cpu(), W, std::span(x).first(3), y); }, {"x has 3", "4"});
    check_throws<shape_error>([&] { byte_products(cpu(), W, x, std::span(y).first(2)); }, {"y has 2", "3"});
    check_throws<shape_error>([&] { byte_products(cpu(), matrix_view<const std::int8_t>(w.data(), 3, 4, 1, 3), x, y); },
                              {"by columns"});
}

}  // namespace subbit::testing
