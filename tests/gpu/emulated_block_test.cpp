// The emulation itself: what a block offers, and the errors of kernels that it finds.
#include <subbit/backend/emulated.hpp>

#include "gpu/exchanges.hpp"
#include "support/refused_access.hpp"
#include "support/throws.hpp"

#include <doctest/doctest.h>
#include <cstdint>
#include <span>
#include <vector>

namespace subbit::testing {

namespace {

/// Reads what the next or the last thread writes, without waiting for it.
struct neighbour_without_sync {
    float* out;
    int step;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        float* const shared = block.template shared<float>(block.threads());
        shared[block.thread()] = 1;
        out[block.thread()] = shared[(block.thread() + step + block.threads()) % block.threads()];
    }
};

struct half_of_a_warp {
    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (block.lane() < 16) block.warp_sum(1);
    }
};

struct too_much_shared_memory {
    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        block.template shared<double>(16);
        block.template shared<double>(17);
    }
};

/// Overlaps, but does not wait where it must.
struct half_of_a_wait {
    static constexpr bool overlaps = true;
    int waiting;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if (block.thread() >= waiting) return;
        wait_for_predecessor(block);
        wait_for_predecessor(block);
    }
};

/// Brings two pieces of 16 bytes to the same place, one after the other, and adds their floats up; or does it wrongly.
struct two_bulk_copies {
    enum fault { none, no_begin, no_end, early, wrong_parity, odd_bytes };
    const float* from;  ///< 8
    float* sums;        ///< one a thread
    fault with = none;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        float* const shared = block.template shared<float>(4);
        auto* const arrivals = block.template shared<gpu::arrival>(1);
        const auto begin = [&](int i) {
            if (block.thread() == 0) copy_bulk(block, shared, from + 4 * i, with == odd_bytes ? 12 : 16, arrivals[0]);
        };
        if (block.thread() == 0) make_arrivals(block, arrivals, 1);
        block.sync();
        if (with != no_begin) begin(0);
        if (with == early) begin(1);
        float sum = 0;
        for (int i = 0; i < 2; ++i) {
            wait_for_bulk(block, arrivals[0], with == wrong_parity ? 0 : i);
            for (int k = 0; k < 4; ++k)
                sum += shared[k];
            release_to_bulk(block);
            block.sync();
            if (i == 0) begin(1);
            if (with == no_end) break;
        }
        sums[block.thread()] = sum;
    }
};

/// Begins a product of ones, 64 rows and 32 columns, and waits for it or not.
struct warpgroup_product {
    float* sums;  ///< one a thread
    bool waits;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const std::uint32_t one = rounded_pair(block, 1, 1);
        auto* const columns = block.template shared<std::uint32_t>(256);
        for (int i = block.thread(); i < 256; i += block.threads())
            columns[i] = one;
        block.sync();
        float mine[16] = {};
        gpu::sign_fragment signs = {{one, one, one, one}};
        begin_products(block, signs);
        add_products(block, mine, signs, columns);
        commit_products(block);
        sums[block.thread()] = mine[15];
        if (waits) finish_products(block, mine);
        sums[block.thread()] += mine[15];
    }
};

}  // namespace

TEST_CASE("threads exchange values") {
    const emulated b;
    for (const int threads : {32, 96, 256}) {
        const index blocks = 3;
        auto counts = allocate<int>(b, blocks * threads);
        b.launch({blocks, threads, static_cast<std::size_t>(threads) * sizeof(int)}, exchanges{span_of(counts).data()});
        check_exchanges(download(b, std::span<const int>(const_span(counts))), threads);
    }
}

TEST_CASE("a missing sync shows in one of the orders") {
    for (const int step : {-1, 1}) {
        bool shows = false;
        for (const bool falling : {false, true}) {
            const emulated b(emulated_device({.falling = falling}));
            auto out = allocate<float>(b, 64);
            b.launch({1, 64, 64 * sizeof(float)}, neighbour_without_sync{span_of(out).data(), step});
            shows = shows || download(b, out).array().isNaN().any();
        }
        CHECK(shows);
    }
}

TEST_CASE("a block that cannot go on, and one that takes too much, are errors") {
    const emulated b;
    check_throws<error>([&] { b.launch({2, 64}, half_of_a_warp{}); }, {"wait at a barrier"});
    check_throws<error>([&] { b.launch({1, 32, 128 + 128}, too_much_shared_memory{}); }, {"272 bytes", "256"});
    check_throws<value_error>([&] { b.launch({1, 48}, half_of_a_warp{}); }, {"48 threads"});
    b.launch({1, 32, 128 + 144}, too_much_shared_memory{});
}

TEST_CASE("a kernel that overlaps waits for the one before it, in every thread") {
    const emulated b;
    check_throws<error>([&] { b.launch({2, 64}, half_of_a_wait{32}); }, {"64 threads", "32 wait"});
    CHECK_NOTHROW(b.launch({2, 64}, half_of_a_wait{64}));
}

TEST_CASE("bulk copies come when they are waited for, and in their order alone") {
    using copies = two_bulk_copies;
    for (const bool falling : {false, true}) {
        const emulated b(emulated_device({.falling = falling}));
        const std::vector<float> values = {1, 2, 3, 4, 50, 60, 70, 80};
        const auto from = upload(b, std::span<const float>(values));
        auto sums = allocate<float>(b, 64);
        const auto launch = [&](copies::fault with) {
            b.launch({1, 64, 32}, copies{span_of(from).data(), span_of(sums).data(), with});
        };
        launch(copies::none);
        CHECK((download(b, sums).array() == 270).all());
        check_throws<error>([&] { launch(copies::no_begin); }, {"wait at a barrier"});
        check_throws<error>([&] { launch(copies::no_end); }, {"ends before"});
        check_throws<error>([&] { launch(copies::early); }, {"begins before"});
        check_throws<error>([&] { launch(copies::wrong_parity); }, {"bulk copy 1", "parity 0"});
        check_throws<error>([&] { launch(copies::odd_bytes); }, {"12 bytes"});
    }
}

TEST_CASE("a warpgroup's products are done when they are waited for") {
    const emulated b;
    auto sums = allocate<float>(b, 128);
    b.launch({1, 128, 1024}, warpgroup_product{span_of(sums).data(), true});
    CHECK((download(b, sums).array() == 16).all());
    check_throws<error>(
        [&] {
            b.launch({1, 128, 1024}, warpgroup_product{span_of(sums).data(), false});
        },
        {"ends before products"});
}

TEST_CASE("the host cannot touch the device's memory, and new memory is not a number") {
    const emulated b;
    auto X = allocate<float>(b, 5, 5);
    float* const p = view(X).data;
    CHECK(is_refused([&] { *p = 1; }));
    const auto fresh = b.scratch<float>(7);
    const vector<float> got = download(b, std::span<const float>(fresh.data(), 7));
    CHECK(got.array().isNaN().all());
}

TEST_CASE("an emulated device that is full says so") {
    const emulated b(emulated_device({.memory_bytes = 1 << 16}));
    check_throws<device_error>([&] { allocate<float>(b, 200, 100); }, {"out of memory", "131072 bytes"});
    for (int i = 0; i < 10; ++i)
        allocate<float>(b, 100, 100);  // freed memory is used again
}

}  // namespace subbit::testing
