// A file as read-only memory: its pages are loaded when they are touched, and take no heap.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/io/memory_mapping.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>

namespace subbit {

/// The read-only contents of a regular file. Spans of it stay valid when the object is moved, until it is destroyed.
class mapped_file {
  public:
    /// Maps `path`; io_error names it if it cannot be opened, is not a regular file or cannot be mapped.
    explicit mapped_file(const std::filesystem::path& path) {
        const auto fail = [&](int code) {
            throw io_error("cannot read " + path.string() + ": " + std::generic_category().message(code));
        };
        // O_NONBLOCK: opening a pipe by mistake must fail below, not wait for a writer.
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) fail(errno);
        struct stat status {};
        int code = ::fstat(fd, &status) != 0 ? errno : 0;
        if (code == 0 && S_ISDIR(status.st_mode)) code = EISDIR;
        if (code == 0 && !S_ISREG(status.st_mode)) code = EINVAL;
        // An empty file cannot be mapped and need not be.
        if (code == 0 && status.st_size > 0)
            code = mapping_.map(fd, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE);
        ::close(fd);
        if (code != 0) fail(code);
    }

    std::span<const std::byte> bytes() const { return {mapping_.data(), mapping_.size()}; }

    /// Asks the system to load a part of the file's bytes, which will be needed soon, while other work goes on.
    void prefetch(std::span<const std::byte> part) const {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const auto first = static_cast<std::size_t>(part.data() - mapping_.data());
        mapping_.advise(first / page * page, first + part.size(), MADV_WILLNEED);
    }

    /// Gives loaded pages back to the system; they are loaded again when they are touched, with the same contents.
    void release() const { mapping_.advise(0, mapping_.size(), MADV_DONTNEED); }

  private:
    memory_mapping mapping_;
};

}  // namespace subbit
