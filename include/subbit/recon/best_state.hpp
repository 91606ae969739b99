// A phase is judged by windows that it does not learn from, and ends with the state that was best on them.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace subbit {

/// value_error naming `who` unless windows are left to learn from, where there are any.
inline void require_held_back(const char* who, index held_back, index windows) {
    if (held_back >= 0 && (held_back < windows || windows == 0)) return;
    throw value_error(std::string(who) + ": " + std::to_string(held_back) + " of " + std::to_string(windows) +
                      " windows are held back, expected fewer than all");
}

/// The place of the lowest of some losses, the first of equals; a loss that is not finite is never it, unless it is the
/// first.
inline std::size_t best_of(std::span<const double> losses) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < losses.size(); ++i)
        if (losses[i] < losses[best]) best = i;
    return best;
}

/// True if the last of the losses is the lowest, and lower than all before it.
inline bool ends_best(std::span<const double> losses) {
    return best_of(losses) + 1 == losses.size();
}

/// Says that a phase goes back to its best state; `losses`: at its start and after each epoch.
inline std::string best_remark(std::span<const double> losses) {
    const std::size_t best = best_of(losses);
    const std::string moment = best == 0 ? "at the start" : "after epoch " + std::to_string(best);
    return "on the held-back windows the loss was lowest " + moment + " (" + std::to_string(losses[best]) +
           ", at the end " + std::to_string(losses.back()) + "); it goes back to that state";
}

/// A copy of the values of parameters.
template <class S, class Memory>
class saved_values {
  public:
    template <class B>
    saved_values(const B& b, std::span<const parameter<S>> parameters) {
        for (const auto& p : parameters)
            copies_.push_back(allocate<S>(b, std::ssize(p.value)));
        save(b, parameters);
    }
    template <class B>
    void save(const B& b, std::span<const parameter<S>> parameters) {
        for (std::size_t i = 0; i < copies_.size(); ++i)
            axpby(b, 1, as_column(std::span<const S>(parameters[i].value)), 0, as_column(span_of(copies_[i])));
    }
    template <class B>
    void restore(const B& b, std::span<const parameter<S>> parameters) const {
        for (std::size_t i = 0; i < copies_.size(); ++i)
            axpby(b, 1, as_column(const_span(copies_[i])), 0, as_column(parameters[i].value));
    }

  private:
    std::vector<vector_in<S, Memory>> copies_;
};

}  // namespace subbit
