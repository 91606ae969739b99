// Memory for what is streamed through the processor: packed signs, tables of rows.
#pragma once

#include <cstddef>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace subbit {

/// Allocates at cache-line boundaries, so that one tile of packed signs is one line; and from some megabytes on in large
/// pages where the system has them, so that a stream does not stop at every fourth kilobyte for an address.
template <class T>
struct streaming_allocator {
    using value_type = T;

    streaming_allocator() = default;
    template <class U>
    constexpr streaming_allocator(const streaming_allocator<U>&) {}

    T* allocate(std::size_t n) {
        void* const p = ::operator new(n * sizeof(T), alignment_of(n));
#if defined(__linux__)
        if (is_large(n)) ::madvise(p, n * sizeof(T), MADV_HUGEPAGE);  // an advice: nothing is lost without it
#endif
        return static_cast<T*>(p);
    }
    void deallocate(T* p, std::size_t n) { ::operator delete(p, alignment_of(n)); }
    friend constexpr bool operator==(streaming_allocator, streaming_allocator) { return true; }

  private:
    static constexpr std::size_t cache_line = 64, large_page = std::size_t{1} << 21;

    static constexpr bool is_large(std::size_t n) { return n * sizeof(T) >= 2 * large_page; }
    static constexpr std::align_val_t alignment_of(std::size_t n) {
        return std::align_val_t{is_large(n) ? large_page : cache_line};
    }
};

}  // namespace subbit
