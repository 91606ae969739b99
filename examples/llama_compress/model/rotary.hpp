// The rotary embedding: the angles of every position, and how models scale them for longer contexts.
#pragma once

#include "model/norm.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <numbers>
#include <utility>
#include <vector>

namespace llama {

/// How the frequencies theta^(-2j / head_dim) are changed for contexts longer than the model was first trained on; the
/// names and formulas are those of transformers' rope_type.
enum class rope_type { plain, linear, llama3, yarn };

/// One rotary embedding.
struct rotary_rule {
    double theta = 10000.0;
    rope_type type = rope_type::plain;
    double factor = 1.0;            ///< by which contexts are longer
    double low_freq_factor = 1.0;   ///< llama3
    double high_freq_factor = 4.0;  ///< llama3
    double trained_positions = 0;   ///< llama3 and yarn: the context of the first training
    double beta_fast = 32;          ///< yarn: dimensions that turn more often in it keep their frequency
    double beta_slow = 1;           ///< yarn: those that turn less often are divided by the factor
    bool truncate = true;           ///< yarn: whether these borders are whole dimensions
    double magnitude = 1.0;         ///< of cosine and sine

    /// The angle between neighbouring positions of pair j of a head.
    double frequency(index j, index head_dim) const {
        const double plain = std::pow(theta, -2.0 * static_cast<double>(j) / static_cast<double>(head_dim));
        switch (type) {
            case rope_type::plain:
                return plain;
            case rope_type::linear:
                return plain / factor;
            case rope_type::llama3:
                return llama3(plain);
            case rope_type::yarn:
                return yarn(plain, j, head_dim);
        }
        return plain;
    }

  private:
    /// Long wavelengths are divided by the factor, short ones kept, those between blended.
    double llama3(double plain) const {
        const double wavelength = 2 * std::numbers::pi / plain;
        if (wavelength < trained_positions / high_freq_factor) return plain;
        if (wavelength > trained_positions / low_freq_factor) return plain / factor;
        const double smooth = (trained_positions / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        return (1 - smooth) * plain / factor + smooth * plain;
    }

    /// YaRN (arXiv 2309.00071, section 3.2): a ramp over the dimensions between kept and divided frequencies.
    double yarn(double plain, index j, index head_dim) const {
        // The dimension whose pair turns so many times in the context of the training.
        const auto dimension = [&](double turns) {
            return static_cast<double>(head_dim) * std::log(trained_positions / (turns * 2 * std::numbers::pi)) /
                   (2 * std::log(theta));
        };
        double low = dimension(beta_fast), high = dimension(beta_slow);
        if (truncate) low = std::floor(low), high = std::ceil(high);
        low = std::max(low, 0.0);
        high = std::min(high, static_cast<double>(head_dim - 1));
        if (high == low) high += 0.001;
        const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
        return plain / factor * ramp + plain * (1 - ramp);
    }
};

/// magnitude * cos and sin of the angle of every position and pair.
template <class S, class Memory = subbit::host_memory>
struct rotary_table {
    matrix_in<S, Memory> cosine, sine;  // (positions, head_dim / 2)

    rotary_table() = default;
    template <class B>
    rotary_table(const B& b, const rotary_rule& rule, index head_dim, index positions) {
        rotary_table<S> host(rule, head_dim, positions);
        cosine = upload(b, std::move(host.cosine));
        sine = upload(b, std::move(host.sine));
    }
    rotary_table(const rotary_rule& rule, index head_dim,
                 index positions) requires(std::same_as<Memory, subbit::host_memory>)
        : cosine(positions, head_dim / 2), sine(positions, head_dim / 2) {
        for (index j = 0; j < cosine.cols(); ++j) {
            const double frequency = rule.frequency(j, head_dim);
            for (index p = 0; p < positions; ++p) {
                cosine(p, j) = static_cast<S>(rule.magnitude * std::cos(static_cast<double>(p) * frequency));
                sine(p, j) = static_cast<S>(rule.magnitude * std::sin(static_cast<double>(p) * frequency));
            }
        }
    }
};

}  // namespace llama
