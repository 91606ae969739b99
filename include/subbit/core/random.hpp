// Counter-based random numbers (Random123's Philox 4x32-10): the i-th number of a stream depends only on the seed, the
// stream and i, so any thread on any device can compute it, in any order.
#pragma once

#include <subbit/core/kernel.hpp>

#include <Random123/philox.h>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace subbit {

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
        const r123::Philox4x32::ctr_type pair = block(i / 4);
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
    SUBBIT_KERNEL r123::Philox4x32::ctr_type block(std::uint64_t b) const {
        r123::Philox4x32 philox;
        const r123::Philox4x32::ctr_type counter = {{static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32),
                                                     static_cast<std::uint32_t>(stream_),
                                                     static_cast<std::uint32_t>(stream_ >> 32)}};
        const r123::Philox4x32::key_type key = {
            {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)}};
        return philox(counter, key);
    }
    SUBBIT_KERNEL static double to_unit(std::uint32_t u) { return (static_cast<double>(u) + 0.5) * 0x1p-32; }

    std::uint64_t seed_;
    std::uint64_t stream_;
};

}  // namespace subbit
