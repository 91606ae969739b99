#pragma once

#include <subbit/core/error.hpp>

namespace subbit {

/// Work that cannot be recorded to be replayed (repeated.hpp), though it can be done.
struct recording_error : error {
    using error::error;
};

}  // namespace subbit
