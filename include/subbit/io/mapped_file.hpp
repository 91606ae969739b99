// A file as read-only memory: its pages are loaded when they are touched, and take no heap.
#pragma once

#include <subbit/core/error.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

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
        size_ = static_cast<std::size_t>(status.st_size);
        if (code == 0 && size_ > 0) {  // an empty file cannot be mapped and need not be
            data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
            if (data_ == MAP_FAILED) code = errno, data_ = nullptr;
        }
        ::close(fd);
        if (code != 0) fail(code);
    }
    mapped_file(mapped_file&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    mapped_file& operator=(mapped_file&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~mapped_file() {
        if (data_) ::munmap(data_, size_);
    }

    std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

    /// Asks the system to load a part of the file's bytes, which will be needed soon, while other work goes on.
    void prefetch(std::span<const std::byte> part) const {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const auto first = static_cast<std::size_t>(part.data() - static_cast<const std::byte*>(data_)) / page * page;
        const auto last = static_cast<std::size_t>(part.data() - static_cast<const std::byte*>(data_)) + part.size();
        if (data_ && last > first) ::madvise(static_cast<std::byte*>(data_) + first, last - first, MADV_WILLNEED);
    }

    /// Gives loaded pages back to the system; they are loaded again when they are touched.
    void release() const {
        if (data_) ::madvise(data_, size_, MADV_DONTNEED);  // only advice: the contents stay the same
    }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace subbit
