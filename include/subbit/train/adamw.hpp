// AdamW over a list of parameters.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// What a parameter is; rates are chosen by it.
enum class parameter_kind { weight, latent, scale, bias, norm };

/// The mean of |x|; 0 for no numbers.
template <class S>
double mean_magnitude(std::span<S> values) {
    double sum = 0;
    for (const auto v : values)
        sum += std::abs(static_cast<double>(v));
    return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

/// One trainable tensor: its values and the gradient of the current step, both owned elsewhere.
template <class S>
struct parameter {
    std::string name;
    parameter_kind kind = parameter_kind::weight;
    std::span<S> value;
    std::span<S> gradient;
    index rows = 0;  ///< of a matrix whose rows lie one after the other; 0: a vector

    double mean_magnitude() const { return subbit::mean_magnitude(std::span<const S>(value)); }
};

/// All entries of a contiguous matrix.
template <class S>
std::span<S> entries(matrix<S>& m) {
    return {m.data(), static_cast<std::size_t>(m.size())};
}

/// A matrix as a parameter.
template <class S>
parameter<S> matrix_parameter(std::string name, parameter_kind kind, matrix<S>& value, matrix<S>& gradient) {
    return {std::move(name), kind, entries(value), entries(gradient), value.rows()};
}

/// Constants of AdamW; the defaults are those of NanoQuant's reconstruction (nanoquant.md section 5).
struct adamw_options {
    double beta1 = 0.9;
    double beta2 = 0.99;
    double epsilon = 1e-6;
    double weight_decay = 0;
};

/// AdamW (Loshchilov and Hutter 2019, algorithm 2), both moments in the parameter's scalar type.
///
/// The moments are kept by position: every step must pass parameters of the same sizes in the same order.
template <class S>
class adamw {
  public:
    explicit adamw(adamw_options options = {}) : options_(options) {}

    /// One update with rates[i] for parameters[i]; a rate of zero leaves that parameter alone but keeps its moments.
    template <host_backend B>
    void step(const B& b, std::span<const parameter<S>> parameters, std::span<const double> rates) {
        if (moments_.empty())
            for (const auto& p : parameters)
                moments_.push_back({std::vector<S>(p.value.size()), std::vector<S>(p.value.size())});
        require_size("adamw: parameters", std::ssize(parameters), std::ssize(moments_));
        require_size("adamw: rates", std::ssize(rates), std::ssize(parameters));
        ++steps_;
        const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
        const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
        for (std::size_t i = 0; i < parameters.size(); ++i)
            update(b, parameters[i], moments_[i], rates[i], correction1, correction2);
    }

    /// First and second moments of one parameter, for saving and restoring a run.
    struct moment_pair {
        std::vector<S> first, second;
    };
    std::size_t steps() const { return steps_; }
    const std::vector<moment_pair>& moments() const { return moments_; }
    void restore(std::size_t steps, std::vector<moment_pair> moments) {
        steps_ = steps;
        moments_ = std::move(moments);
    }

  private:
    template <class B>
    void update(const B& b, const parameter<S>& p, moment_pair& state, double rate, double correction1,
                double correction2) {
        require_size(p.name.c_str(), std::ssize(p.value), std::ssize(state.first));
        require_size(p.name.c_str(), std::ssize(state.second), std::ssize(p.value));
        require_size(p.name.c_str(), std::ssize(p.gradient), std::ssize(p.value));
        const S b1 = static_cast<S>(options_.beta1), b2 = static_cast<S>(options_.beta2);
        const S step_size = static_cast<S>(rate / correction1);
        const S root = static_cast<S>(1 / std::sqrt(correction2));
        const S eps = static_cast<S>(options_.epsilon);
        const S keep = static_cast<S>(1 - rate * options_.weight_decay);
        vectorized_for(b, std::ssize(p.value), 1 << 15, [&](index begin, index end) {
            S* value = p.value.data();
            const S* gradient = p.gradient.data();
            S* first = state.first.data();
            S* second = state.second.data();
            for (index j = begin; j < end; ++j) {
                first[j] = b1 * first[j] + (S(1) - b1) * gradient[j];
                second[j] = b2 * second[j] + (S(1) - b2) * gradient[j] * gradient[j];
                value[j] = keep * value[j] - step_size * first[j] / (std::sqrt(second[j]) * root + eps);
            }
        });
    }

    adamw_options options_;
    std::size_t steps_ = 0;
    std::vector<moment_pair> moments_;
};

}  // namespace subbit
