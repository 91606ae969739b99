// Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): the i-th number of a stream depends only on the
// seed, the stream and i, so any thread on any device can compute it, in any order.
#pragma once

#include <subbit/core/kernel.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace subbit {

/// Philox 4x32 with ten rounds: four random words of a counter and a key.
SUBBIT_KERNEL constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                            std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p = std::uint64_t{0xD2511F53U} * counter[0], q = std::uint64_t{0xCD9E8D57U} * counter[2];
        counter = {static_cast<std::uint32_t>(q >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(q),
                   static_cast<std::uint32_t>(p >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p)};
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
    return counter;
}

/// One independent stream of random numbers, addressed by (seed, stream).
class random_stream {
  public:
    explicit constexpr random_stream(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

    /// The i-th 32-bit number.
    SUBBIT_KERNEL std::uint32_t bits(std::uint64_t i) const { return block(i / 4)[i % 4]; }

    /// The i-th uniform number in (0,1), 2^-33 away from both ends.
    SUBBIT_KERNEL double uniform(std::uint64_t i) const { return to_unit(bits(i)); }

    /// The i-th standard normal number (Box-Muller over the pair that i belongs to).
    SUBBIT_KERNEL double normal(std::uint64_t i) const {
        const std::array<std::uint32_t, 4> pair = block(i / 4);
        const std::size_t at = i % 4 < 2 ? 0 : 2;
        const double radius = std::sqrt(-2.0 * std::log(to_unit(pair[at])));
        const double angle = 2.0 * std::numbers::pi * to_unit(pair[at + 1]);
        return radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
    }

    /// An integer in [0, n), n > 0, by multiplication (bias below n / 2^32).
    SUBBIT_KERNEL std::uint32_t below(std::uint64_t i, std::uint32_t n) const {
        return static_cast<std::uint32_t>((std::uint64_t{bits(i)} * n) >> 32);
    }

  private:
    SUBBIT_KERNEL std::array<std::uint32_t, 4> block(std::uint64_t b) const {
        return philox({low(b), high(b), low(stream_), high(stream_)}, {low(seed_), high(seed_)});
    }
    SUBBIT_KERNEL static constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
    SUBBIT_KERNEL static constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
    SUBBIT_KERNEL static double to_unit(std::uint32_t u) { return (static_cast<double>(u) + 0.5) * 0x1p-32; }

    std::uint64_t seed_;
    std::uint64_t stream_;
};

}  // namespace subbit
