// Sums that do not depend on the order of their terms, so that ranks can share the terms out.
#pragma once

#include <subbit/core/types.hpp>
#include <subbit/distribute/communicator.hpp>

#include <cmath>
#include <cstddef>
#include <vector>

namespace subbit {

/// A sum for each channel, of terms that are not negative, in whole multiples of a power of two: additions are exact,
/// and what a term loses is below 2^-86 of the bound.
class exact_sums {
  public:
    explicit exact_sums(index channels) : sums_(static_cast<std::size_t>(channels)) {}

    /// No term will be above `largest`, or 2^40 times that together; call it before the first one.
    void bound(double largest) {
        int exponent = 0;
        std::frexp(largest, &exponent);  // largest < 2^exponent
        exponent_ = spare_bits - exponent;
    }
    void add(std::size_t channel, double term) { sums_[channel] += static_cast<wide>(std::ldexp(term, exponent_)); }
    double of(std::size_t channel) const { return std::ldexp(static_cast<double>(sums_[channel]), -exponent_); }

    /// Adds what the other ranks have summed, with the same bound.
    void merge(const communicator& ranks) { sum_all(ranks, sums_); }

  private:
    __extension__ typedef unsigned __int128 wide;  // nvcc knows no other form of this name
    static constexpr int spare_bits = 128 - 1 - 40;

    std::vector<wide> sums_;
    int exponent_ = 0;
};

}  // namespace subbit
