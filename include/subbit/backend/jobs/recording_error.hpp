// The error of work that can be done but not recorded.
#pragma once

#include <subbit/core/error.hpp>

namespace subbit {

/// Work that cannot be recorded to be replayed (repeated.hpp); it can still be done as it stands.
struct recording_error : error {
    using error::error;
};

}  // namespace subbit
