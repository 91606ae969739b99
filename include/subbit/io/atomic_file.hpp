// Files that appear complete or not at all: written under another name, forced to disk, then renamed.
#pragma once

#include <subbit/core/error.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace subbit {

/// A file that is being written as PATH.tmp-PID. commit() gives it its name; the destructor removes it otherwise.
class atomic_file {
  public:
    /// Creates the temporary file; io_error if the directory is missing or not writable.
    explicit atomic_file(std::filesystem::path path)
        : path_(std::move(path)), temporary_(path_.string() + ".tmp-" + std::to_string(::getpid())) {
        fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd_ < 0) fail("create");
    }
    atomic_file(const atomic_file&) = delete;
    atomic_file& operator=(const atomic_file&) = delete;
    ~atomic_file() {
        if (fd_ >= 0) ::close(fd_);
        if (!committed_) ::unlink(temporary_.c_str());
    }

    /// Appends; io_error if the disk is full.
    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            // One call writes at most 2^31 - 4096 bytes; smaller pieces also let Ctrl-C take effect sooner.
            const ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 26));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail("write");
            bytes = bytes.subspan(static_cast<std::size_t>(n));
        }
    }
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    /// Forces the bytes to disk, then renames the file to its path, replacing what was there.
    void commit() {
        if (::fsync(fd_) != 0) fail("write");
        const int fd = fd_;
        fd_ = -1;
        if (::close(fd) != 0) fail("write");
        if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("create");
        committed_ = true;
    }

  private:
    [[noreturn]] void fail(const char* verb) const {
        throw io_error(std::string("cannot ") + verb + " " + path_.string() + ": " +
                       std::generic_category().message(errno));
    }

    std::filesystem::path path_;
    std::string temporary_;
    int fd_ = -1;
    bool committed_ = false;
};

/// Replaces the file at `path` by `text` in one step; io_error, and the old file untouched, if that fails.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
    atomic_file file(path);
    file.write(text);
    file.commit();
}

}  // namespace subbit
