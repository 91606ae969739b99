// The bulk copies of a block of the emulation (gpu/device/instructions.hpp): as late as they may be, and with the
// errors that end a kernel on a GPU, or never end it.
#pragma once

#include <subbit/backend/emulated/fibers.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/core/error.hpp>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace subbit::emulation {

/// A copy's bytes come when the first thread waits for it; until then its place holds NaN. Throws error for copies that
/// a GPU refuses, and for waits and copies in another order than gpu/device/instructions.hpp asks for.
class bulk_copies {
  public:
    bulk_copies(fiber_group& fibers, int threads) : fibers_(fibers), threads_(static_cast<std::size_t>(threads)) {}

    void clear() { arrivals_.clear(); }

    /// The number of a new arrival.
    std::uint64_t make_arrival() {
        arrivals_.emplace_back().waits.resize(threads_);
        return arrivals_.size() - 1;
    }

    void begin(std::uint64_t number, void* to, const void* from, int bytes) {
        arrival_state& a = at(number);
        const auto whole = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % gpu::copy_bytes == 0; };
        if (!whole(to) || !whole(from) || bytes <= 0 || bytes % static_cast<int>(gpu::copy_bytes) != 0 ||
            bytes >= 1 << 20)
            throw error("emulated block: a bulk copy of " + std::to_string(bytes) +
                        " bytes, expected whole units of 16 bytes from addresses of such, less than 2^20 bytes");
        if (!is_done(a)) throw error("emulated block: a bulk copy begins before all threads have waited for the last");
        a.to = to;
        a.from = from;
        a.bytes = static_cast<std::size_t>(bytes);
        std::memset(to, 0xff, a.bytes);
        ++a.begun;
        a.beginning.arrived = 0;
        ++a.beginning.generation;  // who waits for it may go on
    }

    void wait(std::uint64_t number, int thread, int parity) {
        arrival_state& a = at(number);
        int& waits = a.waits[static_cast<std::size_t>(thread)];
        if (parity != waits % 2)
            throw error("emulated block: thread " + std::to_string(thread) + " waits for bulk copy " +
                        std::to_string(waits) + " of an arrival with parity " + std::to_string(parity));
        while (a.begun <= waits)
            fibers_.wait(a.beginning);
        if (a.bytes > 0) std::memcpy(a.to, a.from, a.bytes);
        a.bytes = 0;
        ++waits;
    }

    /// At the block's end: a copy that nobody waits for would write to memory that is another block's by then.
    void require_done() const {
        if (!std::all_of(arrivals_.begin(), arrivals_.end(), is_done))
            throw error("emulated block: ends before all its threads have waited for a bulk copy");
    }

  private:
    struct arrival_state {
        int begun = 0;
        std::vector<int> waits;  // of each thread
        barrier beginning{INT_MAX};
        void* to = nullptr;
        const void* from = nullptr;
        std::size_t bytes = 0;  // that are on their way
    };

    static bool is_done(const arrival_state& a) {
        return std::all_of(a.waits.begin(), a.waits.end(), [&](int waits) { return waits == a.begun; });
    }
    arrival_state& at(std::uint64_t number) {
        if (number >= arrivals_.size()) throw error("emulated block: an arrival that nobody has made");
        return arrivals_[number];
    }

    fiber_group& fibers_;
    std::size_t threads_;
    std::deque<arrival_state> arrivals_;  // fibers wait at their barriers: they stay where they are
};

}  // namespace subbit::emulation
