#include "model/git_lfs.hpp"

#include <subbit/core/error.hpp>

#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

namespace llama {

namespace fs = std::filesystem;

namespace {

bool is_lfs_pointer(const fs::path& file) {
    constexpr std::string_view begin = "version https://git-lfs";
    std::string text(begin.size(), '\0');
    return std::ifstream(file, std::ios::binary).read(text.data(), std::ssize(text)) && text == begin;
}

}  // namespace

void require_no_lfs_pointers(const fs::path& folder) {
    std::error_code unreadable;  // a folder that cannot be listed fails when its files are opened
    for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
        const auto extension = entry.path().extension();
        if ((extension == ".safetensors" || extension == ".json") && entry.is_regular_file(unreadable) &&
            is_lfs_pointer(entry.path()))
            throw subbit::format_error(entry.path().string() +
                                       " is a git-lfs pointer, not the file itself; \"git lfs pull\" fetches it");
    }
}

}  // namespace llama
