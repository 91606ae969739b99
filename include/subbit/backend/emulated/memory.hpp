// The memory of the emulated GPU, which the host can access only during launches and copies.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/memory.hpp>

#include <sys/mman.h>
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace subbit::emulation {

/// One reserved range of addresses, without access rights while nothing runs on the device, so that an access by the
/// host ends the program. Several threads may use it.
class memory {
  public:
    /// Throws device_error if the addresses cannot be reserved.
    explicit memory(std::size_t capacity) : capacity_(size_class(capacity)) {
        reserved_ =
            ::mmap(nullptr, capacity_ + large_page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (reserved_ == MAP_FAILED)
            throw device_error("emulated device: no " + std::to_string(capacity_) +
                               " bytes of addresses; ask for less memory");
        void* base = reserved_;
        std::size_t room = capacity_ + large_page;
        base_ = static_cast<std::byte*>(std::align(large_page, capacity_, base, room));
        ask_for_large_pages(base_, capacity_);  // access rights change for a page at a time
    }
    memory(const memory&) = delete;
    memory& operator=(const memory&) = delete;
    ~memory() { ::munmap(reserved_, capacity_ + large_page); }

    /// Throws device_error if the capacity is used up. New memory is filled with NaN.
    std::byte* allocate(std::size_t bytes) {
        const std::size_t size = size_class(bytes);
        std::byte* p = nullptr;
        {
            const std::lock_guard lock(mutex_);
            auto& free = free_[size];
            if (!free.empty()) {
                p = free.back();
                free.pop_back();
            } else if (capacity_ - used_ >= size) {
                p = base_ + used_;
                used_ += size;
                if (open_ > 0) protect(PROT_READ | PROT_WRITE);
            } else {
                throw device_error("emulated device: out of memory, " + std::to_string(size) + " bytes asked for, " +
                                   std::to_string(capacity_ - used_) + " of " + std::to_string(capacity_) +
                                   " left; use a smaller model, fewer windows or fewer layers at once");
            }
        }
        spoil(p, bytes);
        return p;
    }
    /// Fills newly allocated memory with NaN.
    void spoil(void* p, std::size_t bytes) {
        const access open(*this);
        std::memset(p, 0xff, bytes);
    }
    void deallocate(std::byte* p, std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        free_[size_class(bytes)].push_back(p);
    }
    bool contains(const void* p) const { return p >= base_ && p < base_ + capacity_; }

    /// The memory can be read and written while an object of this type exists.
    class access {
      public:
        explicit access(memory& m) : memory_(m) {
            const std::lock_guard lock(m.mutex_);
            if (m.open_++ == 0) m.protect(PROT_READ | PROT_WRITE);
        }
        access(const access&) = delete;
        access& operator=(const access&) = delete;
        ~access() {
            const std::lock_guard lock(memory_.mutex_);
            if (--memory_.open_ == 0) memory_.protect(PROT_NONE);
        }

      private:
        memory& memory_;
    };

  private:
    /// Powers of two, so that freed memory can be used again: fewer pages in use take less time to protect.
    static std::size_t size_class(std::size_t bytes) {
        constexpr std::size_t least = 256;  // what cudaMalloc aligns to
        return std::bit_ceil(std::max(bytes, least));
    }
    void protect(int rights) {
        const std::size_t bytes = std::min((used_ + large_page - 1) / large_page * large_page, capacity_);
        if (bytes > 0) ::mprotect(base_, bytes, rights);
    }

    std::size_t capacity_;
    void* reserved_ = nullptr;  // with room to begin at a large page
    std::byte* base_ = nullptr;
    std::mutex mutex_;
    std::size_t used_ = 0;
    int open_ = 0;
    std::map<std::size_t, std::vector<std::byte*>> free_;  // by size
};

}  // namespace subbit::emulation
