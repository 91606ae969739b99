// How long-running work reports its progress: the library calls, the program displays.
#pragma once

#include <subbit/core/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace subbit {

/// Receives reports of a running job. Every member has a default, so override only what is needed.
class progress {
  public:
    virtual ~progress() = default;

    /// `done` of `total` steps of `what` are finished; `loss` is the latest loss, or negative if there is none.
    virtual void step(std::string_view what, std::size_t done, std::size_t total, double loss) {
        (void)what, (void)done, (void)total, (void)loss;
    }

    /// Something that a user may want to know, in a sentence.
    virtual void note(std::string_view sentence) { (void)sentence; }

    /// Return true to stop the job: it throws cancelled_error at its next step, and its finished output is kept.
    virtual bool cancelled() const { return false; }
};

/// The watcher of work that nobody watches: it ignores every step and never stops one.
inline progress& unwatched() {
    static progress nobody;
    return nobody;
}

/// Reports a step to the watcher, and throws cancelled_error if it asks to stop.
inline void report_step(progress& watcher, std::string_view what, std::size_t done, std::size_t total, double loss) {
    watcher.step(what, done, total, loss);
    if (watcher.cancelled()) throw cancelled_error(std::string(what) + ": stopped on request");
}

}  // namespace subbit
