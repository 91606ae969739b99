// Freed memory that a stream keeps, so that the next allocation of the same size needs no call of the driver, and so
// that recorded work can allocate memory too.
#pragma once

#include <subbit/backend/jobs/recording_error.hpp>

#include <bit>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace subbit::gpu {

struct memory_block {
    void* data;
    std::size_t bytes;  ///< a size that memory_cache::rounded() gives
};

/// The device memory that a stream keeps without using it. The stream works in order, so memory that one job has freed
/// can be used by the next at once; any thread may destroy an owner.
///
/// While launches are recorded, memory comes only from here. Memory that is taken then belongs to the recording, whose
/// replays use the same addresses: only the recording itself may take it again. So work is run once before it is
/// recorded, and then the memory that it needs is here.
class memory_cache {
  public:
    /// The size to allocate on the device: at most a quarter more.
    static std::size_t rounded(std::size_t bytes) {
        constexpr std::size_t least = 256;  // what a device aligns to
        if (bytes <= 4 * least) return (bytes + least - 1) / least * least;
        const std::size_t step = std::bit_floor(bytes - 1) / 4;
        return (bytes + step - 1) / step * step;
    }

    bool recording() const {
        const std::lock_guard lock(mutex_);
        return recording_;
    }

    /// Memory of rounded(bytes), or null if there is none; during a recording, throws recording_error instead of
    /// returning null.
    void* take(std::size_t bytes) {
        const std::lock_guard lock(mutex_);
        const std::size_t size = rounded(bytes);
        void* p = recording_ ? pop(recorded_, size) : nullptr;
        if (p == nullptr && (p = pop(free_, size)) != nullptr) held_ -= size;
        if (recording_ && p == nullptr)
            throw recording_error("a device was asked for " + std::to_string(bytes) +
                                  " bytes while launches are recorded, expected memory that was given back before");
        if (recording_) taken_[p] = size;
        return p;
    }

    /// Keeps freed memory. Returns false if that would be too much; then the caller frees it.
    bool give(void* p, std::size_t bytes) {
        constexpr std::size_t most = std::size_t{512} << 20, most_held = std::size_t{4} << 30;
        const std::lock_guard lock(mutex_);
        const std::size_t size = rounded(bytes);
        if (recording_) {
            if (taken_.erase(p) > 0) {
                recorded_[size].push_back(p);
                return true;
            }
            lost_ = true;  // what is recorded may use it
        }
        if (size > most || held_ + size > most_held) return false;
        free_[size].push_back(p);
        held_ += size;
        return true;
    }

    void begin_recording() {
        const std::lock_guard lock(mutex_);
        recording_ = true;
        lost_ = false;
    }
    /// Ends a recording and returns the memory that belongs to it, which its owner gives back at the end. Throws
    /// recording_error if the recording freed memory that it had not allocated, or kept memory that it had allocated: a
    /// replay could not repeat that.
    std::vector<memory_block> end_recording() {
        std::unique_lock lock(mutex_);
        const bool sound = !lost_ && taken_.empty();
        recording_ = false;
        taken_.clear();
        std::vector<memory_block> blocks;
        for (const auto& [size, list] : std::exchange(recorded_, {}))
            for (void* p : list)
                blocks.push_back({p, size});
        lock.unlock();
        if (sound) return blocks;
        give_all(blocks);
        throw recording_error("what is recorded keeps memory that it took, or gives back what it had before");
    }
    void abandon_recording() noexcept {
        try {
            end_recording();
        } catch (const recording_error&) {
        }
    }
    void give_all(const std::vector<memory_block>& blocks) {
        const std::lock_guard lock(mutex_);
        for (const auto& b : blocks) {
            free_[b.bytes].push_back(b.data);
            held_ += b.bytes;
        }
    }

    /// Releases all memory that is kept, to be freed by the caller.
    std::vector<memory_block> release() {
        const std::lock_guard lock(mutex_);
        std::vector<memory_block> blocks;
        for (const auto& [size, list] : std::exchange(free_, {}))
            for (void* p : list)
                blocks.push_back({p, size});
        held_ = 0;
        return blocks;
    }

  private:
    using lists = std::map<std::size_t, std::vector<void*>>;  // by size

    static void* pop(lists& from, std::size_t size) {
        const auto list = from.find(size);
        if (list == from.end() || list->second.empty()) return nullptr;
        void* const p = list->second.back();
        list->second.pop_back();
        return p;
    }

    mutable std::mutex mutex_;
    lists free_, recorded_;
    std::map<void*, std::size_t> taken_;  // by the recording, and not given back yet
    std::size_t held_ = 0;
    bool recording_ = false, lost_ = false;
};

/// The memory of a recording, for as long as it can be replayed.
class recorded_memory {
  public:
    recorded_memory(std::shared_ptr<memory_cache> cache, std::vector<memory_block> blocks)
        : cache_(std::move(cache)), blocks_(std::move(blocks)) {}
    recorded_memory(recorded_memory&& other) noexcept
        : cache_(std::move(other.cache_)), blocks_(std::exchange(other.blocks_, {})) {}
    recorded_memory& operator=(recorded_memory other) noexcept {
        cache_.swap(other.cache_);
        blocks_.swap(other.blocks_);
        return *this;
    }
    ~recorded_memory() {
        if (cache_) cache_->give_all(blocks_);
    }

  private:
    std::shared_ptr<memory_cache> cache_;
    std::vector<memory_block> blocks_;
};

/// Calls `launches` with the cache recording, and returns what the recording owns.
template <class F>
recorded_memory record_memory(const std::shared_ptr<memory_cache>& cache, F&& launches) {
    cache->begin_recording();
    try {
        std::forward<F>(launches)();
    } catch (...) {
        cache->abandon_recording();
        throw;
    }
    return {cache, cache->end_recording()};
}

}  // namespace subbit::gpu
