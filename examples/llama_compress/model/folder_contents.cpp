#include "model/folder_contents.hpp"

#include <subbit/core/error.hpp>

#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

namespace llama {

namespace fs = std::filesystem;

namespace {

void require_file_itself(const fs::path& file) {
    constexpr std::string_view pointer = "version https://git-lfs";
    std::string text(pointer.size(), '\0');
    std::ifstream(file, std::ios::binary).read(text.data(), std::ssize(text));
    if (text == pointer)
        throw subbit::format_error(file.string() +
                                   " is a git-lfs pointer, not the file itself; \"git lfs pull\" fetches it");
    for (const char* page : {"<!DOCTYPE", "<!doctype", "<html"})
        if (text.starts_with(page))
            throw subbit::format_error(file.string() + " is a web page, not the file itself; download it again");
}

/// Names what is there in place of model.safetensors; of a folder that is empty or cannot be listed it says nothing.
void require_weights(const fs::path& folder) {
    std::error_code unreadable;  // what cannot be examined fails when it is opened
    if (fs::exists(folder / "model.safetensors", unreadable) ||
        fs::exists(folder / "model.safetensors.index.json", unreadable))
        return;
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder, unreadable))
        names.insert(entry.path().filename().string());
    if (names.empty()) return;
    const std::string none = folder.string() + " holds neither model.safetensors nor model.safetensors.index.json";
    for (const auto& name : names)
        if (const fs::path file = folder / name; fs::is_symlink(file) && !fs::exists(file))
            throw subbit::io_error(file.string() + " is a link to a file that is not there");
    for (const auto& name : names)
        if (name == "adapter_model.safetensors")
            throw subbit::io_error(none + ", but an adapter; merge it into its model first");
        else if (name.ends_with(".safetensors"))
            throw subbit::io_error(none + ", but " + name + "; the index of several files is missing");
    for (const auto& name : names)
        for (const char* other : {".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"})
            if (name.ends_with(other))
                throw subbit::io_error(none + ", but " + name +
                                       "; weights of that format must be converted to safetensors first");
    throw subbit::io_error(none);
}

}  // namespace

void require_model_folder(const fs::path& folder) {
    std::error_code unreadable;
    const auto status = fs::status(folder, unreadable);
    if (status.type() == fs::file_type::not_found) throw subbit::io_error("there is no folder " + folder.string());
    if (!fs::is_directory(status) && !unreadable)
        throw subbit::io_error(folder.string() +
                               " is not a folder; expected one with config.json and model.safetensors");
    for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
        const auto extension = entry.path().extension();
        if ((extension == ".safetensors" || extension == ".json") && entry.is_regular_file(unreadable))
            require_file_itself(entry.path());
    }
    require_weights(folder);
}

}  // namespace llama
