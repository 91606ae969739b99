// One safetensors file: 8 bytes of header length, a JSON header, then the tensors' bytes side by side.
//
// Everything that the header claims is checked when the file is opened, so the bytes of all `tensors()` are inside the
// file.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/io/mapped_file.hpp>
#include <subbit/io/safetensors_header.hpp>

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// A safetensors file, opened and checked.
class safetensors_file {
  public:
    /// Maps `path`; io_error if it cannot be read, format_error naming file and tensor if its contents are not valid.
    explicit safetensors_file(const std::filesystem::path& path)
        : label_(path.string()), mapping_(path), contents_(parse_safetensors(mapping_->bytes(), label_)) {}
    /// Opens bytes in memory, which must outlive the object; messages name `label` instead of a file.
    safetensors_file(std::span<const std::byte> bytes, std::string label)
        : label_(std::move(label)), contents_(parse_safetensors(bytes, label_)) {}

    const std::string& label() const { return label_; }
    /// The tensors, in the order of their bytes.
    const std::vector<tensor_info>& tensors() const { return contents_.tensors; }
    const std::map<std::string, std::string>& metadata() const { return contents_.metadata; }
    /// Asks the system to load bytes of tensors.
    void prefetch(std::span<const std::byte> part) const {
        if (mapping_) mapping_->prefetch(part);
    }
    /// Gives the file's loaded pages back to the system.
    void release() const {
        if (mapping_) mapping_->release();
    }

  private:
    std::string label_;
    std::optional<mapped_file> mapping_;
    safetensors_contents contents_;
};

}  // namespace subbit

#if !defined(SUBBIT_COMPILED_IO)
#include <subbit/io/safetensors_json.hpp>
#endif
