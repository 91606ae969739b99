// Plain versions of the instructions that a GPU has and a host has not; cuda/instructions.cuh has the GPU's.
#pragma once

#include <subbit/backend/emulated/block.hpp>
#include <subbit/backend/gpu/instructions.hpp>

#include <cstdint>
#include <cstring>

namespace subbit::emulation {

/// See gpu/instructions.hpp.
inline void multiply_add(block& b, std::int32_t (&sums)[4], const gpu::sign_fragment& signs,
                         const gpu::digit_fragment& digits) {
    const auto dot = [](std::uint32_t unsigned_bytes, std::uint32_t signed_bytes) {
        std::int32_t sum = 0;
        for (int i = 0; i < 32; i += 8)
            sum += static_cast<std::int32_t>(unsigned_bytes >> i & 255u) *
                   static_cast<std::int8_t>(static_cast<std::uint8_t>(signed_bytes >> i & 255u));
        return sum;
    };
    const int g = b.lane() / 4, q = b.lane() % 4;
    gpu::sign_fragment a[4];
    b.exchange_all(signs, [&](auto of) {
        for (int from = 0; from < 4; ++from)
            a[from] = of(4 * g + from);
    });
    b.exchange_all(digits, [&](auto of) {
        for (int from = 0; from < 4; ++from)
            for (int column = 0; column < 2; ++column) {
                const gpu::digit_fragment x = of(4 * (2 * q + column) + from);
                for (int row = 0; row < 2; ++row)
                    sums[2 * row + column] += dot(a[from].word[row], x.word[0]) + dot(a[from].word[row + 2], x.word[1]);
            }
    });
}

inline std::int32_t byte_sum(const block&, std::uint32_t bytes) {
    std::int32_t sum = 0;
    for (int i = 0; i < 32; i += 8)
        sum += static_cast<std::int8_t>(static_cast<std::uint8_t>(bytes >> i & 255u));
    return sum;
}

inline std::int32_t multiply_bytes(const block&, std::uint32_t bytes, std::uint32_t first, std::uint32_t second,
                                   std::int32_t sum) {
    const std::uint64_t halves = std::uint64_t{second} << 32 | first;
    for (int i = 0; i < 4; ++i)
        sum += static_cast<std::int8_t>(static_cast<std::uint8_t>(bytes >> 8 * i & 255u)) *
               static_cast<std::int16_t>(static_cast<std::uint16_t>(halves >> 16 * i & 65535u));
    return sum;
}

template <class T>
T load_once(const block&, const T* address) {
    return *address;
}

inline void copy_async(const block&, void* to, const void* from) {
    std::memcpy(to, from, gpu::copy_bytes);
}
inline void commit_copies(const block&) {}
template <int Pending>
void wait_for_copies(const block&) {}

}  // namespace subbit::emulation
