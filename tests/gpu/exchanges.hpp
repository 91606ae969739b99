// Kernels that use what a block and a recording offer, for the emulation and for a GPU.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/owners.hpp>

#include <doctest/doctest.h>

namespace subbit::testing {

/// Every exchange once, checked by the threads themselves: out[thread] counts what is right.
struct exchanges {
    static constexpr int most_threads = gpu::lone_threads;

    int* out;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const int t = block.thread(), lane = block.lane(), first = t - lane;
        int right = 0;
        right += block.shuffle(t, 5) == first + 5;
        right += block.shuffle_xor(t, 3) == (first + (lane ^ 3));
        right += block.shuffle_down(t, 4) == (lane + 4 < 32 ? t + 4 : t);
        right += block.ballot(lane % 2 == 1) == 0xaaaaaaaau;
        right += block.warp_sum(t) == 32 * first + 31 * 16;
        if (block.warp() == 0) right += block.warp_reduce(t, gpu::maximum{}) == first + 31;
        right += block.sum(t) == block.threads() * (block.threads() - 1) / 2;
        right += block.reduce(-t, gpu::maximum{}) == 0;
        int* const shared = block.template shared<int>(block.threads());
        shared[t] = t;
        block.sync();
        right += shared[block.threads() - 1 - t] == block.threads() - 1 - t;
        out[block.index() * block.threads() + t] = right;
    }
};

/// What `exchanges` must have left, for blocks of so many threads.
inline void check_exchanges(const vector<int>& counts, int threads) {
    for (index i = 0; i < counts.size(); ++i)
        CHECK(counts(i) == (i % threads < 32 ? 9 : 8));
}

struct doubled {
    int* numbers;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        numbers[block.thread()] *= 2;
    }
};

/// What a recording sends and fetches is what there is when it is replayed.
template <class B>
void check_recorded_copies(const B& b) {
    using device = typename B::device_type;
    constexpr index count = 64;
    gpu::host_buffer<device, int> from(b.device(), count), to(b.device(), count);
    auto there = b.template scratch<int>(count);
    const auto graph = b.device().record([&] {
        b.device().send(there.data(), from.data(), there.bytes());
        b.launch({1, count}, doubled{there.data()});
        b.device().fetch(to.data(), there.data(), there.bytes());
    });
    for (const int first : {1, 1000}) {
        for (index i = 0; i < count; ++i) {
            from.data()[i] = first + static_cast<int>(i);
            to.data()[i] = 0;
        }
        graph.replay();
        b.synchronize();
        for (index i = 0; i < count; ++i)
            CHECK(to.data()[i] == 2 * (first + static_cast<int>(i)));
    }
}

}  // namespace subbit::testing
