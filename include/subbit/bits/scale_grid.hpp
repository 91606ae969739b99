// Scales in 8 bits: a sign and one of 127 magnitudes, each the same share smaller than the next.
#pragma once

#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>

namespace subbit {

/// The grid of one vector of scales: code 0 is zero, code c of either sign has the magnitude top * ratio^(127 - |c|).
class scale_grid {
  public:
    static constexpr int levels = 127;

    /// Computed in double from two numbers that a file holds, so that all programs get the same magnitudes.
    scale_grid(float top, float ratio) : top_(top), ratio_(ratio) {
        double value = top;
        for (std::size_t level = levels; level-- > 0; value *= ratio)
            magnitudes_[level] = static_cast<float>(value);
    }

    /// The grid with the least squared relative error for finite scales, among those that reach down from the largest
    /// scale by a quarter of an octave to 16 octaves. Scales that lie on such a grid keep their values. The error is
    /// relative because a small scale may belong to a large input: by absolute error it would become zero.
    template <class S>
    static scale_grid fitted(std::span<const S> scales) {
        float top = 0;
        for (const S s : scales)
            top = std::max(top, std::abs(static_cast<float>(s)));
        scale_grid best(top, 1);
        double least = std::numeric_limits<double>::infinity();
        for (double octaves = 0.25; octaves <= 16 && least > 0; octaves += 0.25) {
            const scale_grid grid(top, static_cast<float>(std::exp2(-octaves / (levels - 1))));
            double error = 0;
            for (const S s : scales) {
                if (s == 0) continue;
                const double off = static_cast<double>(grid.value(grid.code(s))) / static_cast<double>(s) - 1;
                error += off * off;
            }
            if (error < least) {
                least = error;
                best = grid;
            }
        }
        return best;
    }

    float top() const { return top_; }
    float ratio() const { return ratio_; }

    float value(std::int8_t code) const {
        if (code == 0) return 0;
        const float magnitude = magnitudes_[static_cast<std::size_t>(std::abs(int{code})) - 1];
        return code < 0 ? -magnitude : magnitude;
    }

    /// That of the nearest value; of two that are as near, the larger magnitude.
    template <class S>
    std::int8_t code(S scale) const {
        const auto x = static_cast<float>(scale), magnitude = std::abs(x);
        const auto above = std::lower_bound(magnitudes_.begin(), magnitudes_.end(), magnitude);
        auto level = static_cast<int>(above - magnitudes_.begin());
        if (level == levels) level = levels - 1;
        const auto at = [&](int i) { return i < 0 ? 0.0F : magnitudes_[static_cast<std::size_t>(i)]; };
        if (magnitude - at(level - 1) < at(level) - magnitude) --level;
        return static_cast<std::int8_t>(x < 0 ? -(level + 1) : level + 1);
    }

  private:
    float top_, ratio_;
    std::array<float, levels> magnitudes_{};  // from the smallest
};

}  // namespace subbit
