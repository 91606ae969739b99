// Scratch memory that is allocated once per thread and grows as needed.
#pragma once

#include <subbit/core/matrix.hpp>

#include <cstddef>
#include <new>
#include <utility>

namespace subbit {

/// A 64-byte aligned, uninitialized, growing block of memory.
class scratch_buffer {
  public:
    scratch_buffer() = default;
    scratch_buffer(const scratch_buffer&) = delete;
    scratch_buffer& operator=(const scratch_buffer&) = delete;
    ~scratch_buffer() { release(); }

    /// At least `count` objects of T; the previous contents are lost.
    template <class T>
    T* reserve(index count) {
        const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
        if (bytes > bytes_) {
            release();
            data_ = ::operator new(bytes, alignment);
            bytes_ = bytes;
        }
        return static_cast<T*>(data_);
    }

  private:
    static constexpr std::align_val_t alignment{64};

    void release() {
        if (data_ != nullptr) ::operator delete(data_, alignment);
        data_ = nullptr;
        bytes_ = 0;
    }

    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

/// This thread's buffer for the purpose that `Purpose` names: two purposes never share memory.
template <class Purpose>
scratch_buffer& thread_scratch() {
    thread_local scratch_buffer buffer;
    return buffer;
}

}  // namespace subbit
