// AdamW over a list of parameters.
#pragma once

#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/train.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/train/parameter.hpp>

#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

/// A vector of the backend's memory as numbers to be kept in a file.
template <class B, class V>
auto numbers_of(const B& b, const V& x) {
    const auto& host = on_host(b, x);
    return std::vector(host.begin(), host.end());
}

}  // namespace detail

/// First and second moments of one parameter on the host, for saving and restoring a run.
template <class S>
struct moment_pair {
    std::vector<S> first, second;
};

/// AdamW (Loshchilov and Hutter 2019, algorithm 2; docs/method.md, eq. 40), with both moments in the parameter's scalar
/// type.
///
/// Moments belong to positions: every step must pass parameters of the same sizes in the same order.
template <class S, class Memory = host_memory>
class adamw {
  public:
    explicit adamw(adamw_options options = {}) : options_(options) {}

    /// One update with rates[i] for parameters[i]; with a rate of zero only the moments of that parameter change.
    template <class B>
    void step(const B& b, std::span<const parameter<S>> parameters, std::span<const double> rates) {
        next_step(b, 1, 1);
        update(b, parameters, rates);
    }

    /// The first half of a step: the numbers that differ from the last step go to the backend's memory. Every rate is
    /// multiplied by `rate_share`, every gradient by `gradient_share`.
    template <class B>
    void next_step(const B& b, double rate_share, double gradient_share) {
        if (const_span(now_).empty()) now_ = allocate<double>(b, index{adamw_step::count});
        const auto t = static_cast<double>(++steps_);
        const adamw_step now{rate_share, 1 - std::pow(options_.beta1, t),
                             1 / std::sqrt(1 - std::pow(options_.beta2, t)), gradient_share};
        upload(b, std::span<const double>(now.numbers()), span_of(now_));
    }
    /// The second half, which is the same in every step and can be recorded.
    template <class B>
    void update(const B& b, std::span<const parameter<S>> parameters, std::span<const double> rates) {
        if (moments_.empty())
            for (const auto& p : parameters) {
                const index size = std::ssize(p.value);
                moments_.push_back({allocate<S>(b, size), allocate<S>(b, size)});
            }
        require_size("adamw: parameters", std::ssize(parameters), std::ssize(moments_));
        require_size("adamw: rates", std::ssize(rates), std::ssize(parameters));
        std::vector<adamw_slot<S>> slots;
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            const auto& p = parameters[i];
            const std::span<S> first = span_of(moments_[i].first), second = span_of(moments_[i].second);
            require_size(p.name.c_str(), std::ssize(p.value), std::ssize(first));
            require_size(p.name.c_str(), std::ssize(p.gradient), std::ssize(first));
            slots.push_back(
                {p.gradient.data(), first.data(), second.data(), p.value.data(), std::ssize(p.value), rates[i]});
        }
        adamw_update(b, options_, std::span<const adamw_slot<S>>(slots), const_span(now_));
    }

    std::size_t steps() const { return steps_; }
    template <class B>
    std::vector<moment_pair<S>> moments(const B& b) const {
        std::vector<moment_pair<S>> all;
        for (const auto& m : moments_)
            all.push_back({detail::numbers_of(b, m.first), detail::numbers_of(b, m.second)});
        return all;
    }
    template <class B>
    void restore(const B& b, std::size_t steps, const std::vector<moment_pair<S>>& moments) {
        steps_ = steps;
        moments_.clear();
        for (const auto& m : moments)
            moments_.push_back({upload(b, std::span(m.first)), upload(b, std::span(m.second))});
    }

  private:
    struct state {
        vector_in<S, Memory> first, second;
    };

    adamw_options options_;
    std::size_t steps_ = 0;
    std::vector<state> moments_;
    vector_in<double, Memory> now_;  // the numbers of an adamw_step
};

}  // namespace subbit
