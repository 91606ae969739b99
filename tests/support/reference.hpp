// Where numbers, models and texts from outside this project lie.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace subbit::testing {

/// The directory that an environment variable names; empty where there is none.
inline std::filesystem::path directory_named_by(const char* variable) {
    const char* value = std::getenv(variable);
    return value ? value : "";
}

/// SUBBIT_REFERENCE_DIR, or tests/data.
inline std::filesystem::path reference_dir() {
    const auto named = directory_named_by("SUBBIT_REFERENCE_DIR");
    return named.empty() ? std::filesystem::path(SUBBIT_REFERENCE_DEFAULT) : named;
}

}  // namespace subbit::testing
