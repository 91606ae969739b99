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

}  // namespace subbit
