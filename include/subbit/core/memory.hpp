// Memory for data that is streamed through the processor: packed signs, tables of rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace subbit {

inline constexpr std::size_t cache_line = 64;
inline constexpr std::size_t large_page = std::size_t{1} << 21;

/// Asks for large pages, where the system has them; only advice: it may be ignored.
inline void ask_for_large_pages([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    ::madvise(p, bytes, MADV_HUGEPAGE);
#endif
}

/// Blocks that begin at cache lines, so that one tile of packed signs is one line. Blocks of several megabytes are in
/// large pages, where the system has them, so that a stream does not wait for an address translation every 4 kilobytes.
struct streaming_memory {
    static void* allocate(std::size_t bytes) {
        void* const p = ::operator new(bytes, alignment_of(bytes));
        if (is_large(bytes)) ask_for_large_pages(p, bytes);
        return p;
    }
    static void deallocate(void* p, std::size_t bytes) { ::operator delete(p, alignment_of(bytes)); }

  private:
    static constexpr bool is_large(std::size_t bytes) { return bytes >= 2 * large_page; }
    static constexpr std::align_val_t alignment_of(std::size_t bytes) {
        return std::align_val_t{is_large(bytes) ? large_page : cache_line};
    }
};

/// Hands out memory in adjacent pieces, and frees all of it in its destructor.
class streaming_arena {
  public:
    streaming_arena() = default;
    streaming_arena(const streaming_arena&) = delete;
    streaming_arena& operator=(const streaming_arena&) = delete;
    ~streaming_arena() {
        for (const slab& s : slabs_)
            streaming_memory::deallocate(s.memory, s.size);
    }

    void* allocate(std::size_t bytes) {
        bytes = (bytes + cache_line - 1) / cache_line * cache_line;
        if (slabs_.empty() || slabs_.back().size - used_ < bytes) {
            const std::size_t size = std::max(bytes, slab_size);
            slabs_.reserve(slabs_.size() + 1);
            slabs_.push_back({static_cast<std::byte*>(streaming_memory::allocate(size)), size});
            used_ = 0;
        }
        used_ += bytes;
        return slabs_.back().memory + used_ - bytes;
    }

  private:
    static constexpr std::size_t slab_size = std::size_t{1} << 26;  // the unused part is never touched

    struct slab {
        std::byte* memory;
        std::size_t size;
    };
    std::vector<slab> slabs_;
    std::size_t used_ = 0;  // of the last one
};

/// Allocates streaming memory, from an arena if it is given one, which must outlive the memory. A copy of a container
/// allocates outside the arena. Numbers that are given no value stay as the memory was, so that a container which is
/// filled next is written once.
template <class T>
struct streaming_allocator {
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;

    streaming_allocator() = default;
    streaming_allocator(streaming_arena& arena) : arena_(&arena) {}
    template <class U>
    constexpr streaming_allocator(const streaming_allocator<U>& other) : arena_(other.arena()) {}

    T* allocate(std::size_t n) {
        return static_cast<T*>(arena_ != nullptr ? arena_->allocate(n * sizeof(T))
                                                 : streaming_memory::allocate(n * sizeof(T)));
    }
    void deallocate(T* p, std::size_t n) {
        if (arena_ == nullptr) streaming_memory::deallocate(p, n * sizeof(T));
    }
    template <class U>
    void construct(U* p) {
        ::new (static_cast<void*>(p)) U;
    }
    template <class U, class... Arguments>
    void construct(U* p, Arguments&&... arguments) {
        ::new (static_cast<void*>(p)) U(std::forward<Arguments>(arguments)...);
    }
    streaming_allocator select_on_container_copy_construction() const { return {}; }
    constexpr streaming_arena* arena() const { return arena_; }
    friend constexpr bool operator==(streaming_allocator a, streaming_allocator b) { return a.arena_ == b.arena_; }

  private:
    streaming_arena* arena_ = nullptr;
};

}  // namespace subbit
