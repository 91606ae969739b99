// Files that are not there but for a note: git-lfs leaves a pointer of some 130 bytes where a file was not fetched.
#pragma once

#include <filesystem>

namespace llama {

/// Throws format_error naming the first of a folder's safetensors and JSON files that is a git-lfs pointer.
void require_no_lfs_pointers(const std::filesystem::path& folder);

}  // namespace llama
