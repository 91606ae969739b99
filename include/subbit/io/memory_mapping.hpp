// The owner of a mapping of a file into memory.
#pragma once

#include <sys/mman.h>
#include <cerrno>
#include <cstddef>
#include <utility>

namespace subbit {

/// Bytes of a file as memory, until the object is destroyed; empty, or moved from: none. Their address stays the same
/// when the object is moved.
class memory_mapping {
  public:
    memory_mapping() = default;
    memory_mapping(memory_mapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    memory_mapping& operator=(memory_mapping&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~memory_mapping() {
        if (data_) ::munmap(data_, size_);
    }

    /// Maps the first `bytes` bytes of an open file into an empty object; returns 0, or an error's number (errno).
    int map(int file, std::size_t bytes, int protection, int flags) {
        void* const data = ::mmap(nullptr, bytes, protection, flags, file, 0);
        if (data == MAP_FAILED) return errno;
        data_ = data;
        size_ = bytes;
        return 0;
    }

    std::byte* data() const { return static_cast<std::byte*>(data_); }
    std::size_t size() const { return size_; }

    /// Advice about the bytes first, ..., end - 1, of which the first begins a page; the system may ignore it, and an
    /// empty object does.
    void advise(std::size_t first, std::size_t end, int advice) const {
        if (data_ && first < end) ::madvise(data() + first, end - first, advice);
    }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace subbit
