// What safetensors files say in JSON, without naming a JSON library: safetensors_json.hpp has the functions' code,
// which each file compiles, or subbit::compiled once.
#pragma once

#include <subbit/core/matrix.hpp>
#include <subbit/io/dtype.hpp>

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace subbit {

/// A shape of any order as text, "3x5x2"; that of a scalar is "()".
inline std::string shape_text(std::span<const index> shape) {
    if (shape.empty()) return "()";
    std::string text;
    for (const index extent : shape) {
        if (!text.empty()) text += 'x';
        text += std::to_string(extent);
    }
    return text;
}

/// A stored tensor; `bytes` is row-major, and valid as long as the file is open.
struct tensor_info {
    std::string name;
    dtype type{};
    std::vector<index> shape;
    std::span<const std::byte> bytes;
};

/// What a safetensors file holds.
struct safetensors_contents {
    std::vector<tensor_info> tensors;  ///< in the order of their bytes
    std::map<std::string, std::string> metadata;
};

/// Reads a file's bytes, to which the result refers; format_error naming `label` and the tensor if they are not valid.
safetensors_contents parse_safetensors(std::span<const std::byte> file, const std::string& label);

/// A tensor to be described in a header; the pointers are the caller's.
struct header_entry {
    const std::string* name;
    dtype type;
    const std::vector<index>* shape;
    std::size_t bytes;
};

/// The beginning of a safetensors file, its length included, of tensors in the order of their bytes. Throws value_error
/// for a name or metadata that are not UTF-8.
std::string safetensors_header(std::span<const header_entry> tensors,
                               const std::map<std::string, std::string>& metadata);

/// The tensors of each shard that a model.safetensors.index.json names. Throws io_error or format_error naming it.
std::map<std::string, std::vector<std::string>> read_weight_map(const std::filesystem::path& index_path);

}  // namespace subbit
