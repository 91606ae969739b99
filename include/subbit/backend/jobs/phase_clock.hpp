// Measures the time of a job's phases.
#pragma once

#include <subbit/backend/concept.hpp>

#include <chrono>
#include <map>
#include <string>

namespace subbit {

/// Seconds by the name of a phase.
using phase_seconds = std::map<std::string, double>;

/// Adds up the seconds of consecutive phases. Each lasts until the backend has finished its work.
class phase_clock {
  public:
    /// Ends a phase, which began at the end of the one before.
    template <backend B>
    void end(const B& b, const std::string& phase) {
        seconds_[phase] += lap(b);
    }
    /// Starts again: the time since the last phase belongs to no phase.
    template <backend B>
    void skip(const B& b) {
        lap(b);
    }
    const phase_seconds& seconds() const { return seconds_; }

  private:
    using clock = std::chrono::steady_clock;

    template <backend B>
    double lap(const B& b) {
        if constexpr (requires { b.synchronize(); }) b.synchronize();
        const auto now = clock::now();
        const double seconds = std::chrono::duration<double>(now - last_).count();
        last_ = now;
        return seconds;
    }

    phase_seconds seconds_;
    clock::time_point last_ = clock::now();
};

}  // namespace subbit
