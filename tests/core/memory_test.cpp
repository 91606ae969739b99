// Memory for streams: aligned, side by side in an arena, and the owner's own again in a copy.
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/memory.hpp>

#include "support/strided.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

namespace subbit::testing {
namespace {

std::uintptr_t address(const void* p) {
    return reinterpret_cast<std::uintptr_t>(p);
}

}  // namespace

TEST_CASE("streaming memory begins at a cache line, large blocks at a large page") {
    for (const std::size_t count : {1UL, 100UL, 5'000'000UL}) {
        std::vector<std::uint8_t, streaming_allocator<std::uint8_t>> x(count, 7);
        CHECK(address(x.data()) % (count > 4'200'000 ? std::uintptr_t{1} << 21 : 64) == 0);
        CHECK(x.back() == 7);
    }
}

TEST_CASE("an arena hands out pieces side by side, and makes room where one does not fit") {
    streaming_arena arena;
    const auto first = address(arena.allocate(100));
    CHECK(first % 64 == 0);
    CHECK(address(arena.allocate(64)) == first + 128);
    auto* const large = static_cast<std::uint8_t*>(arena.allocate(40'000'000));
    CHECK(address(large) % 64 == 0);
    large[0] = large[39'999'999] = 1;
    auto* const next = static_cast<std::uint8_t*>(arena.allocate(10));
    CHECK(address(next) % 64 == 0);
    CHECK((next < large || next >= large + 40'000'000));
    next[9] = 2;
    CHECK(large[39'999'999] == 1);
}

TEST_CASE("sign matrices in an arena: the same signs, one after the other; copies leave it") {
    const auto V = bit_matrix::pack(random_matrix<float>(33, 70, 1)),
               U = bit_matrix::pack(random_matrix<float>(20, 5, 2));
    bit_matrix copy;
    {
        streaming_arena arena;
        auto v = V, u = U;
        v.move_to(arena);
        u.move_to(arena);
        CHECK(v == V);
        CHECK(u == U);
        CHECK(u.words().data() == v.words().data() + v.word_count());
        const auto* words = v.words().data();
        const bit_matrix moved = std::move(v);
        CHECK(moved.words().data() == words);
        bit_matrix assigned;
        assigned = std::move(u);
        CHECK(assigned.words().data() == words + V.word_count());
        copy = moved;
        CHECK(copy.words().data() != words);
    }
    CHECK(copy == V);
}

TEST_CASE("stored words go straight into an arena, by whatever copies them") {
    const auto V = bit_matrix::pack(random_matrix<float>(33, 70, 1)),
               U = bit_matrix::pack(random_matrix<float>(20, 5, 2));
    streaming_arena arena;
    int copies = 0;
    const auto copy = [&](std::span<const std::uint32_t> from, std::uint32_t* to) {
        ++copies;
        std::copy(from.rbegin(), from.rend(), std::make_reverse_iterator(to + from.size()));
    };
    const auto v = bit_matrix::from_words(33, 70, V.words(), arena, copy),
               u = bit_matrix::from_words(20, 5, U.words(), arena, copy);
    CHECK(v == V);
    CHECK(u == U);
    CHECK(copies == 2);
    CHECK(u.words().data() == v.words().data() + v.word_count());
    CHECK(bit_matrix(3, 40) == bit_matrix::from_words(3, 40, std::vector<std::uint32_t>(32)));
}

}  // namespace subbit::testing
