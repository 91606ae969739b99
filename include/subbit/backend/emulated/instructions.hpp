// Plain versions of the instructions that a GPU has and a host has not; cuda/instructions.cuh has the GPU's.
#pragma once

#include <subbit/backend/emulated/block.hpp>
#include <subbit/backend/gpu/instructions.hpp>

#include <cstdint>
#include <cstring>

namespace subbit::emulation {

namespace detail {

/// unsigned times signed bytes
inline std::int32_t byte_dot(std::uint32_t a, std::uint32_t x) {
    std::int32_t sum = 0;
    for (int i = 0; i < 32; i += 8)
        sum += static_cast<std::int32_t>(a >> i & 255u) *
               static_cast<std::int8_t>(static_cast<std::uint8_t>(x >> i & 255u));
    return sum;
}

struct multiply_operands {
    std::int32_t (&sums)[4];
    const gpu::sign_fragment& signs;
    const gpu::digit_fragment& digits;
};

}  // namespace detail

inline void multiply_add(block& b, std::int32_t (&sums)[4], const gpu::sign_fragment& signs,
                         const gpu::digit_fragment& digits) {
    detail::multiply_operands mine{sums, signs, digits};
    b.together(mine, [](auto of) {
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                const int half = row / 8;
                std::int32_t sum = 0;
                for (int q = 0; q < 4; ++q) {
                    const gpu::sign_fragment& a = of(row % 8 * 4 + q).signs;
                    const gpu::digit_fragment& x = of(column * 4 + q).digits;
                    sum += detail::byte_dot(a.word[half], x.word[0]) + detail::byte_dot(a.word[half + 2], x.word[1]);
                }
                of(row % 8 * 4 + column / 2).sums[2 * half + column % 2] += sum;
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
