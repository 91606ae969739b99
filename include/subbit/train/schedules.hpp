// Learning-rate schedules and rates.
#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>

namespace subbit {

/// A linear warm-up to `peak`, then a cosine that would reach `peak * final_fraction` one step after the last of
/// `steps` (docs/method.md, eq. 41).
struct cosine_schedule {
    double peak = 1e-5;
    double final_fraction = 0;
    std::size_t steps = 1;
    std::size_t warmup = 0;

    double operator()(std::size_t step) const {
        if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
        const double span = static_cast<double>(steps > warmup ? steps - warmup : 1);
        const double x = std::fmin(1.0, static_cast<double>(step - warmup) / span);
        return peak * (final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * x)));
    }
};

/// A learning rate: absolute, or a share of the mean magnitude of the parameter (docs/method.md, eq. 39: how many signs
/// flip depends on the ratio of the step to the latent).
struct learning_rate {
    double value = 1e-5;
    bool relative = false;

    static constexpr learning_rate absolute(double v) { return {v, false}; }
    static constexpr learning_rate share_of_magnitude(double v) { return {v, true}; }
    double for_magnitude(double mean_magnitude) const { return relative ? value * mean_magnitude : value; }
};

}  // namespace subbit
