// How long work reports itself. The library calls; the program draws.
#pragma once

#include <cstddef>
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

}  // namespace subbit
