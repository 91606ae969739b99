// The error of work that can be run but not recorded.
#pragma once

#include <subbit/core/error.hpp>

namespace subbit {

/// Work that cannot be recorded for replay (repeated.hpp); it can still be run directly.
struct recording_error : error {
    using error::error;
};

}  // namespace subbit
