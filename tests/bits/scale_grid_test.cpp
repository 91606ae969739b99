// Scales in 8 bits.
#include <subbit/bits/scale_grid.hpp>

#include <subbit/core/random.hpp>

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <vector>

namespace subbit::testing {
namespace {

std::vector<float> rounded(const std::vector<float>& scales) {
    const auto grid = scale_grid::fitted(std::span<const float>(scales));
    std::vector<float> result;
    for (const float s : scales)
        result.push_back(grid.value(grid.code(s)));
    return result;
}

TEST_CASE("a grid has a zero, two signs and magnitudes that each are the same share of the next") {
    const scale_grid grid(3.0F, 0.5F);
    CHECK(grid.value(0) == 0);
    CHECK(grid.value(127) == 3);
    CHECK(grid.value(126) == 1.5F);
    CHECK(grid.value(-125) == -0.75F);
    CHECK(grid.code(3.0F) == 127);
    CHECK(grid.code(100.0F) == 127);
    CHECK(grid.code(-1.6F) == -126);
    CHECK(grid.code(2.26F) == 127);
    CHECK(grid.code(2.24F) == 126);
    CHECK(grid.code(0.0F) == 0);
    for (int c = -127; c <= 127; ++c)
        CHECK(grid.code(grid.value(static_cast<std::int8_t>(c))) == c);
}

TEST_CASE("scales that are on a grid keep their values, and the largest always does") {
    CHECK(rc::check("any scales", [] {
        const auto scales = *rc::gen::nonEmpty(rc::gen::container<std::vector<float>>(
            rc::gen::map(rc::gen::inRange(-100000, 100000), [](int i) { return static_cast<float>(i) / 977.0F; })));
        const auto once = rounded(scales);
        RC_ASSERT(rounded(once) == once);
        float largest = 0, kept = 0;
        for (std::size_t i = 0; i < scales.size(); ++i) {
            largest = std::max(largest, std::abs(scales[i]));
            kept = std::max(kept, std::abs(once[i]));
            RC_ASSERT(once[i] * scales[i] >= 0);
        }
        RC_ASSERT(kept == largest);
    }));
}

TEST_CASE("scales over a range of 2^o are off by at most a share of o / 126 / 2 octaves") {
    for (const double octaves : {0.25, 1.0, 2.0, 12.0}) {
        std::vector<float> scales;
        const random_stream stream(1);
        for (std::uint64_t i = 0; i < 500; ++i)
            scales.push_back(static_cast<float>(std::exp2(-octaves * stream.uniform(i))));
        const auto result = rounded(scales);
        double squared = 0, worst = 0;
        for (std::size_t i = 0; i < scales.size(); ++i) {
            const double off = std::abs(result[i] / scales[i] - 1);
            squared += off * off / static_cast<double>(scales.size());
            worst = std::max(worst, off);
        }
        const double step = octaves / 126 * std::log(2.0);
        CHECK(worst < 0.55 * step);
        CHECK(std::sqrt(squared) < 0.4 * step);
    }
}

TEST_CASE("a small scale among many large ones keeps its value nearly") {
    const random_stream stream(2);
    for (const float small : {0.1F, 0.01F, 0.0005F}) {
        std::vector<float> scales;
        for (std::uint64_t i = 0; i < 500; ++i)
            scales.push_back(static_cast<float>(1 + stream.uniform(i)));
        scales.push_back(-small);
        CHECK(rounded(scales).back() == doctest::Approx(-small).epsilon(0.03));
    }
}

TEST_CASE("zeros stay zeros") {
    CHECK(rounded({0, 0, 0}) == std::vector<float>{0, 0, 0});
    CHECK(rounded({0, 2, 0}) == std::vector<float>{0, 2, 0});
    CHECK(rounded({}).empty());
}

}  // namespace
}  // namespace subbit::testing
