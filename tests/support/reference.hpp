// Where the numbers made outside this project lie: SUBBIT_REFERENCE_DIR in the environment, or tests/data.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace subbit::testing {

inline std::filesystem::path reference_dir() {
    if (const char* dir = std::getenv("SUBBIT_REFERENCE_DIR"); dir && *dir) return dir;
    return SUBBIT_REFERENCE_DEFAULT;
}

}  // namespace subbit::testing
