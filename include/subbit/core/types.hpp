// Strong types for the quantities that are easy to confuse.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <string>

namespace subbit {

/// Stored bits divided by the number of weights that they represent.
struct bits_per_weight {
    double value = 1.0;
    constexpr explicit bits_per_weight(double v) : value(v) {}
};

/// A fraction of a population in (0,1]; percentile{0.999} keeps 99.9 %.
struct percentile {
    double value = 0.999;
    constexpr explicit percentile(double v) : value(v) {}
};

/// sign with sign(0) = +1 everywhere (and sign(-0) = +1, sign(NaN) = -1).
template <class Scalar>
constexpr Scalar sign(Scalar x) {
    return x >= Scalar(0) ? Scalar(1) : Scalar(-1);
}

}  // namespace subbit
