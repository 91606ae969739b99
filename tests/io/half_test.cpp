// The 16-bit floats, exhaustively: every pattern one way, and every neighbourhood of a rounding boundary the other way.
#include <subbit/core/half.hpp>

#include <doctest/doctest.h>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using namespace subbit;

namespace {

/// The value of a binary16 by the definition of the format.
double defined_f16(unsigned h) {
    const unsigned exponent = h >> 10 & 31u, fraction = h & 1023u;
    const double sign = h & 0x8000u ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
    if (exponent == 0) return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(1024u + fraction, static_cast<int>(exponent) - 25);
}

}  // namespace

TEST_CASE("every f16 pattern has the value that the format defines, and comes back") {
    for (unsigned h = 0; h < 65536; ++h) {
        const auto pattern = static_cast<std::uint16_t>(h);
        const float value = from_f16(pattern);
        const double defined = defined_f16(h);
        if (std::isnan(defined)) {
            REQUIRE(std::isnan(value));
            REQUIRE((to_f16(value) | 0x200u) == (h | 0x200u));  // the payload stays, the quiet bit is set
        } else {
            REQUIRE(static_cast<double>(value) == defined);
            REQUIRE(std::signbit(value) == ((h & 0x8000u) != 0));
            REQUIRE(to_f16(value) == pattern);
        }
    }
}

TEST_CASE("floats round to the nearest f16, ties to even, at every boundary") {
    for (unsigned h = 0; h < 0x7c00; ++h) {
        const auto low = static_cast<std::uint16_t>(h), high = static_cast<std::uint16_t>(h + 1);
        // The step past the largest finite value is as long as the one before it.
        const double above = high == 0x7c00 ? 65536.0 : defined_f16(high);
        const auto middle = static_cast<float>((defined_f16(low) + above) / 2);  // exact in a float
        const std::uint16_t even = h % 2 == 0 ? low : high;
        for (const unsigned sign : {0u, 0x8000u}) {
            const float x = sign ? -middle : middle;
            const auto signed_pattern = [&](std::uint16_t p) { return static_cast<std::uint16_t>(p | sign); };
            REQUIRE(to_f16(x) == signed_pattern(even));
            REQUIRE(to_f16(std::nextafterf(x, 0.0f)) == signed_pattern(low));
            REQUIRE(to_f16(std::nextafterf(x, x < 0 ? -HUGE_VALF : HUGE_VALF)) == signed_pattern(high));
        }
    }
    CHECK(to_f16(std::numeric_limits<float>::max()) == 0x7c00);
    CHECK(to_f16(-HUGE_VALF) == 0xfc00);
    CHECK(to_f16(std::numeric_limits<float>::denorm_min()) == 0);
    CHECK(std::isnan(from_f16(to_f16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("every bf16 pattern is the upper half of its float, and comes back") {
    for (unsigned h = 0; h < 65536; ++h) {
        const auto pattern = static_cast<std::uint16_t>(h);
        const float value = from_bf16(pattern);
        REQUIRE(std::bit_cast<std::uint32_t>(value) == h << 16);
        REQUIRE(to_bf16(value) == (std::isnan(value) ? (h | 0x40u) : h));
    }
}

TEST_CASE("floats round to the nearest bf16, ties to even, at every boundary") {
    for (std::uint32_t h = 0; h < 0x7f80; ++h) {
        const std::uint32_t tie = h << 16 | 0x8000u;
        const std::uint32_t even = h % 2 == 0 ? h : h + 1;
        for (const std::uint32_t sign : {0u, 0x8000u}) {
            const auto rounded = [&](std::uint32_t bits) { return to_bf16(std::bit_cast<float>(bits | sign << 16)); };
            REQUIRE(rounded(tie) == (even | sign));
            REQUIRE(rounded(tie - 1) == (h | sign));
            REQUIRE(rounded(tie + 1) == ((h + 1) | sign));
        }
    }
    CHECK(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001u)))));  // a payload in the lower half alone
}
