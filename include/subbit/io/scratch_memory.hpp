// Memory that lies in a file without a name: for numbers that a job needs now and then, and that need not fit into
// memory.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/io/memory_mapping.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>

namespace subbit {

/// Zeros that can be written, in a file of a folder that nobody else sees and that ends with the object or the process.
class scratch_memory {
  public:
    scratch_memory() = default;
    /// io_error naming the folder where there is no room for so many bytes.
    scratch_memory(const std::filesystem::path& folder, std::size_t bytes) {
        std::string name = (folder / ".scratch-XXXXXX").string();
        const int file = ::mkstemp(name.data());
        int code = file < 0 ? errno : 0;
        if (file >= 0) ::unlink(name.c_str());
        // The room is taken now, so that a full disk is an error here and not a signal at a later access.
        if (code == 0) code = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
        if (code == 0) code = mapping_.map(file, bytes, PROT_READ | PROT_WRITE, MAP_SHARED);
        if (file >= 0) ::close(file);
        if (code != 0)
            throw io_error(folder.string() + ": no room for " + std::to_string(bytes) +
                           " bytes: " + std::generic_category().message(code));
    }

    std::span<std::byte> bytes() const { return {mapping_.data(), mapping_.size()}; }

    /// Takes the pages that lie within a range out of the process's memory; they are read again when they are touched.
    void release(std::size_t first, std::size_t count) const {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        mapping_.advise(first / page * page, (first + count) / page * page, MADV_DONTNEED);
    }

  private:
    memory_mapping mapping_;
};

}  // namespace subbit
