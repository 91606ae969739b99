#include <subbit/core/math.hpp>

#include <doctest/doctest.h>
#include <limits>

namespace subbit {

TEST_CASE("the fast exponential is exact to 2e-7 between -87 and 88.7") {
    double worst = 0;
    for (int i = 0; i <= 200000; ++i) {
        const float x = static_cast<float>(-86.99 + 175.69 * i / 200000.0);
        const double exact = std::exp(static_cast<double>(x));
        worst = std::max(worst, std::abs(static_cast<double>(fast_exp(x)) / exact - 1));
    }
    CHECK(worst < 2e-7);
    CHECK(fast_exp(0.0F) == 1.0F);
}

TEST_CASE("the edges of the fast exponential") {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    CHECK(fast_exp(-87.5F) == 0.0F);
    CHECK(fast_exp(-1e30F) == 0.0F);
    CHECK(fast_exp(-infinity) == 0.0F);
    CHECK(fast_exp(89.0F) == infinity);
    CHECK(fast_exp(1e30F) == infinity);
    CHECK(fast_exp(infinity) == infinity);
    CHECK(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
    CHECK(fast_exp(1.5) == std::exp(1.5));
    CHECK(std::isnan(fast_exp(std::numeric_limits<double>::quiet_NaN())));
}

TEST_CASE("the fast square root is exact to 2e-7, and keeps 0, infinity and NaN") {
    double worst = 0;
    for (int i = 0; i <= 200000; ++i) {
        const float x = static_cast<float>(std::exp2(-126.0 + 253.99 * i / 200000.0));
        worst = std::max(worst, std::abs(static_cast<double>(fast_sqrt(x)) / std::sqrt(static_cast<double>(x)) - 1));
    }
    CHECK(worst < 2e-7);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    CHECK(fast_sqrt(0.0F) == 0.0F);
    CHECK(fast_sqrt(infinity) == infinity);
    CHECK(std::isnan(fast_sqrt(std::numeric_limits<float>::quiet_NaN())));
    CHECK(fast_sqrt(1e-40F) < 2e-20F);
    CHECK(fast_sqrt(2.0) == std::sqrt(2.0));
}

TEST_CASE("the largest of any number of numbers, wherever it is; a NaN counts only as the first") {
    for (const index n : {1, 2, 15, 16, 17, 31, 32, 33, 100})
        for (index at = 0; at < n; ++at) {
            const auto value = [&](index i) { return i == at ? -1.0F : -2.0F - static_cast<float>(i % 7); };
            CHECK(largest_of(n, value) == -1.0F);
        }
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(largest_of(40, [](index i) { return i == 20 || i == 39 ? nan : static_cast<double>(i); }) == 38.0);
    CHECK(std::isnan(largest_of(40, [](index i) { return i == 0 ? nan : static_cast<double>(i); })));
}

}  // namespace subbit
