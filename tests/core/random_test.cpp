#include <subbit/core/random.hpp>

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <array>

namespace subbit {
namespace {

using words = std::array<std::uint32_t, 4>;

}  // namespace

TEST_CASE("the numbers of a stream are Philox's") {
    // The known answers of the authors' library, Random123.
    REQUIRE(philox({0, 0, 0, 0}, {0, 0}) == words{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U});
    REQUIRE(philox({0xffffffffU, 0xffffffffU, 0xffffffffU, 0xffffffffU}, {0xffffffffU, 0xffffffffU}) ==
            words{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU});
    REQUIRE(philox({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}) ==
            words{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U});
    CHECK(rc::check("any seed, stream and place", [](std::uint64_t seed, std::uint64_t stream, std::uint64_t i) {
        const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
        const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
        const auto block = philox({low(i / 4), high(i / 4), low(stream), high(stream)}, {low(seed), high(seed)});
        RC_ASSERT(random_stream(seed, stream).bits(i) == block[i % 4]);
    }));
}

TEST_CASE("uniform and normal numbers have their moments, and neighbours do not correlate") {
    const random_stream stream(12, 34), other(12, 35);
    constexpr std::uint64_t count = 100000;
    double uniform = 0, mean = 0, square = 0, fourth = 0, neighbours = 0, streams = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const double u = stream.uniform(i), x = stream.normal(i);
        REQUIRE((u > 0 && u < 1));
        uniform += u / count;
        mean += x / count;
        square += x * x / count;
        fourth += x * x * x * x / count;
        neighbours += x * stream.normal(i + 1) / count;
        streams += x * other.normal(i) / count;
    }
    CHECK(std::abs(uniform - 0.5) < 0.005);
    CHECK(std::abs(mean) < 0.015);
    CHECK(std::abs(square - 1) < 0.025);
    CHECK(std::abs(fourth - 3) < 0.2);
    CHECK(std::abs(neighbours) < 0.015);
    CHECK(std::abs(streams) < 0.015);
}

TEST_CASE("integers below a bound reach every value, and nothing depends on the order of the calls") {
    const random_stream stream(5), copy(5);
    std::array<int, 7> hits{};
    for (std::uint64_t i = 0; i < 7000; ++i)
        ++hits.at(stream.below(i, 7));
    for (const int n : hits)
        CHECK(std::abs(n - 1000) < 150);
    CHECK(stream.below(9, 1) == 0);
    for (std::uint64_t i = 100; i-- > 0;)
        CHECK(copy.normal(i) == stream.normal(i));
}

}  // namespace subbit
