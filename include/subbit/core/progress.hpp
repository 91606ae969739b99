// How long work reports itself. The library calls; the program draws.
#pragma once

#include <subbit/core/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace subbit {

/// What a running job tells its caller; every member has a default, so override what is of interest.
class progress {
  public:
    virtual ~progress() = default;

    /// `done` of `total` steps of `what` are finished; `loss` is the latest, or negative where there is none.
    virtual void step(std::string_view what, std::size_t done, std::size_t total, double loss) {
        (void)what, (void)done, (void)total, (void)loss;
    }

    /// True asks the job to stop: it then throws cancelled_error at the next step, and loses no finished output.
    virtual bool cancelled() const { return false; }
};

/// A watcher for work that nobody watches: it hears every step and never stops one.
inline progress& unwatched() {
    static progress nobody;
    return nobody;
}

/// Tells the watcher of a step and throws cancelled_error when it has asked to stop.
inline void report_step(progress& watcher, std::string_view what, std::size_t done, std::size_t total, double loss) {
    watcher.step(what, done, total, loss);
    if (watcher.cancelled()) throw cancelled_error(std::string(what) + ": stopped on request");
}

}  // namespace subbit
