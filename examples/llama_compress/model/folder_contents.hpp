// What a folder must hold before its files are read, and what is often there in place of it.
#pragma once

#include <filesystem>

namespace llama {

/// Throws io_error where there is no folder, or where it has no safetensors files but links to missing ones, shards
/// without their index, or weights of another format; format_error for a file that is a git-lfs pointer (a note of some
/// 130 bytes where a file was not fetched) or a web page.
void require_model_folder(const std::filesystem::path& folder);

}  // namespace llama
