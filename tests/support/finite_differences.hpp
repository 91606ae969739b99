// Gradients against central differences, in double.
#pragma once

#include <subbit/core/matrix.hpp>
#include <subbit/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace subbit::testing {

inline std::span<double> entries(matrix<double>& m) {
    return {m.data(), static_cast<std::size_t>(m.size())};
}
inline std::span<const double> entries(const matrix<double>& m) {
    return {m.data(), static_cast<std::size_t>(m.size())};
}

/// The largest difference between `gradient` and the central differences of loss() over every entry of `x`, divided by
/// the largest of these. `x` is left as it was.
template <class Loss>
double gradient_error(std::span<double> x, std::span<const double> gradient, Loss&& loss, double step = 1e-5) {
    double worst = 0, largest = 1e-300;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double before = x[i];
        x[i] = before + step;
        const double above = loss();
        x[i] = before - step;
        const double below = loss();
        x[i] = before;
        const double slope = (above - below) / (2 * step);
        largest = std::max(largest, std::abs(slope));
        worst = std::max(worst, std::abs(slope - gradient[i]));
    }
    return x.size() == gradient.size() ? worst / largest : HUGE_VAL;
}

/// The same along a few random directions: for inputs with too many entries to take one by one.
template <class Loss>
double directional_error(std::span<double> x, std::span<const double> gradient, Loss&& loss, int directions = 6,
                         double step = 1e-5) {
    if (x.size() != gradient.size()) return HUGE_VAL;
    const std::vector<double> start(x.begin(), x.end());
    double worst = 0, largest = 1e-300;
    for (int k = 0; k < directions; ++k) {
        const random_stream stream(4711, static_cast<std::uint64_t>(k));
        double expected = 0;
        const auto loss_at = [&](double distance) {
            for (std::size_t i = 0; i < x.size(); ++i)
                x[i] = start[i] + distance * stream.normal(i);
            return loss();
        };
        for (std::size_t i = 0; i < x.size(); ++i)
            expected += gradient[i] * stream.normal(i);
        const double slope = (loss_at(step) - loss_at(-step)) / (2 * step);
        largest = std::max(largest, std::abs(slope));
        worst = std::max(worst, std::abs(slope - expected));
    }
    std::copy(start.begin(), start.end(), x.begin());
    return worst / largest;
}

}  // namespace subbit::testing
