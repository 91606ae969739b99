// The threads of a cpu backend.
//
// A loop is cut into chunks whose boundaries never depend on the number of threads; threads, including the caller,
// claim one chunk after another. The caller waits for chunks, not for threads: a worker that the system has suspended
// between chunks delays nobody. So this stays fast on a busy machine, where a barrier of all threads would not.
// Each thread has a stretch of neighbouring chunks, of memory that its processor fetches ahead, and claims those of
// other stretches when its own has none left.
//
// A process that was made by fork has none of its parent's threads: there a pool runs its loops in the calling thread,
// and leaves the workers, which only the parent has, alone.
#pragma once

#include <subbit/core/even_share.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/core/memory.hpp>

#include <pthread.h>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

/// How many forks lie between this process and the first pool's.
inline unsigned& fork_count() {
    static unsigned count = 0;
    static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++count; });
    (void)registered;
    return count;
}

}  // namespace detail

/// Threads that wait for loops; owned by a cpu backend and its copies.
class thread_pool {
  public:
    /// `threads` counts the caller: the pool starts one fewer.
    explicit thread_pool(int threads) : stretches_(static_cast<std::size_t>(std::max(1, threads))) {
        workers_.reserve(stretches_.size() - 1);
        try {
            for (int t = 1; t < threads; ++t)
                workers_.emplace_back([this, t] { work(t); });
        } catch (const std::system_error& e) {
            stop();
            throw value_error(std::to_string(threads) + " threads cannot be started: " + e.what());
        }
    }
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    ~thread_pool() {
        if (has_workers())
            stop();
        else if (!workers_.empty())  // in a forked process the handles stand for nothing that can be joined or detached
            new std::vector<std::thread>(std::move(workers_));
    }

    /// Threads that run a loop, the caller's included.
    int threads() const { return has_workers() ? static_cast<int>(workers_.size()) + 1 : 1; }

    /// Calls f(c) once for each c of [0, chunks). Runs in the calling thread alone if that is running a chunk of a loop
    /// itself, or if another loop has the pool. Throws the first exception of f, after all chunks have stopped.
    template <class F>
    void run(index chunks, F&& f) {
        if (!has_workers() || chunks <= 1 || inside_chunk() || !owner_.try_lock()) {
            for (index c = 0; c < chunks; ++c)
                f(c);
            return;
        }
        const std::lock_guard<std::mutex> lock(owner_, std::adopt_lock);
        const std::uint32_t job = generation_.load(std::memory_order_relaxed) + 1;
        // Closed before anything else changes: a worker that still reads the last loop must not combine it with this
        // loop's number of chunks, and claim a chunk that neither loop has.
        for (stretch& s : stretches_)
            s.next.store(static_cast<std::uint64_t>(job) << 32 | no_chunk, std::memory_order_relaxed);
        failure_ = nullptr;
        failed_.store(false, std::memory_order_relaxed);
        done_.store(0, std::memory_order_relaxed);
        chunks_.store(static_cast<std::uint32_t>(chunks), std::memory_order_release);
        context_.store(const_cast<void*>(static_cast<const void*>(&f)), std::memory_order_release);
        call_.store([](void* context, index c) { (*static_cast<std::remove_reference_t<F>*>(context))(c); },
                    std::memory_order_release);
        for (stretch& s : stretches_)
            s.next.store(static_cast<std::uint64_t>(job) << 32, std::memory_order_release);
        wake_workers();
        inside_chunk() = true;
        take_chunks(job, 0);
        inside_chunk() = false;
        int spins = 0;
        while (done_.load(std::memory_order_acquire) != static_cast<std::uint32_t>(chunks))
            relax(spins = std::min(spins + 1, spin_limit + 1));
        if (failure_) std::rethrow_exception(failure_);
    }

  private:
    /// Long enough for the gap between two loops of one computation, short enough to leave the processor to others.
    static constexpr int spin_limit = 2000;
    /// In the low half of a stretch's `next`: nothing to claim.
    static constexpr std::uint32_t no_chunk = 0xffffffffU;

    /// Whether there are threads to help: not with one thread alone, and not after a fork.
    bool has_workers() const { return !workers_.empty() && forks_ == detail::fork_count(); }

    void stop() {
        stop_.store(true, std::memory_order_relaxed);
        wake_workers();
        for (std::thread& w : workers_)
            w.join();
    }

    static bool& inside_chunk() {
        thread_local bool inside = false;
        return inside;
    }

    static void relax(int spins) {
        if (spins > spin_limit) return std::this_thread::yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }

    void wake_workers() {
        generation_.fetch_add(1, std::memory_order_release);
        generation_.notify_all();
    }

    void work(int thread) {
        inside_chunk() = true;
        std::uint32_t seen = 0;
        while (true) {
            int spins = 0;
            while (generation_.load(std::memory_order_acquire) == seen)
                if (++spins > spin_limit)
                    generation_.wait(seen, std::memory_order_acquire);
                else
                    relax(spins);
            seen = generation_.load(std::memory_order_acquire);
            if (stop_.load(std::memory_order_relaxed)) return;
            take_chunks(seen, thread);
        }
    }

    /// The chunks of a stretch that are claimed: how many in the low half, in the high half the number of the loop.
    struct alignas(cache_line) stretch {
        std::atomic<std::uint64_t> next = 0;
    };

    /// Claims chunks of loop `job` until none is left, those of the thread's own stretch first.
    void take_chunks(std::uint32_t job, int thread) {
        const auto count = static_cast<int>(stretches_.size());
        for (int s = thread; s < thread + count; ++s)
            take_chunks_of(s % count, job);
    }

    /// Claims those of one stretch. A claim raises the low half of `next` under the number of the loop in the high
    /// half: it can only succeed while a chunk of that loop is unclaimed, that is while its caller still waits, so what
    /// was read of the loop before the claim is then known to be that loop's.
    void take_chunks_of(int number, std::uint32_t job) {
        std::atomic<std::uint64_t>& counter = stretches_[static_cast<std::size_t>(number)].next;
        std::uint64_t next = counter.load(std::memory_order_acquire);
        while (static_cast<std::uint32_t>(next >> 32) == job) {
            const auto claim = static_cast<std::uint32_t>(next);
            const auto call = call_.load(std::memory_order_acquire);
            void* const context = context_.load(std::memory_order_acquire);
            const unit_range chunks =
                even_share(chunks_.load(std::memory_order_acquire), static_cast<int>(stretches_.size()), number);
            if (claim >= chunks.count()) return;
            if (!counter.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel, std::memory_order_acquire))
                continue;
            if (!failed_.load(std::memory_order_relaxed)) {
                try {
                    call(context, chunks.first + claim);
                } catch (...) {
                    if (!failed_.exchange(true)) failure_ = std::current_exception();
                }
            }
            done_.fetch_add(1, std::memory_order_release);
            next = counter.load(std::memory_order_acquire);
        }
    }

    std::vector<stretch> stretches_;  // one for each thread, the caller's first
    std::mutex owner_;
    std::atomic<std::uint32_t> generation_ = 0;
    std::atomic<std::uint32_t> chunks_ = 0;
    std::atomic<std::uint32_t> done_ = 0;
    std::atomic<void (*)(void*, index)> call_ = nullptr;
    std::atomic<void*> context_ = nullptr;
    std::atomic<bool> failed_ = false;
    std::atomic<bool> stop_ = false;
    std::exception_ptr failure_;
    const unsigned forks_ = detail::fork_count();
    std::vector<std::thread> workers_;
};

/// Runs a kernel's loops: on a pool, or on the calling thread alone.
class executor {
  public:
    executor() = default;
    explicit executor(thread_pool& pool) : pool_(&pool) {}

    int threads() const { return pool_ == nullptr ? 1 : pool_->threads(); }

    /// This executor if `work` is at least `least`, else the calling thread.
    executor when(double work, double least) const { return work < least ? executor() : *this; }

    /// Calls f(begin, end) once for each chunk [c*grain, min(n, (c+1)*grain)).
    template <class F>
    void for_chunks(index n, index grain, F&& f) const {
        grain = std::max<index>(grain, 1);
        const index chunks = (n + grain - 1) / grain;
        const auto chunk = [&](index c) { f(c * grain, std::min(n, (c + 1) * grain)); };
        if (pool_ != nullptr) return pool_->run(chunks, chunk);
        for (index c = 0; c < chunks; ++c)
            chunk(c);
    }

  private:
    thread_pool* pool_ = nullptr;
};

}  // namespace subbit
