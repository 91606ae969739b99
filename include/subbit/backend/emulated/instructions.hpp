// Plain versions of the instructions that a GPU has and a host has not; cuda/instructions.cuh has the GPU's.
#pragma once

#include <subbit/backend/emulated/block.hpp>
#include <subbit/backend/gpu/instructions.hpp>

#include <bit>
#include <cstdint>
#include <cstring>

namespace subbit::emulation {

namespace detail {

/// Of multiply_add and count_common.
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
        std::uint8_t A[16][32];
        std::int8_t X[8][32];
        for (int lane = 0; lane < gpu::warp_size; ++lane) {
            const int g = lane / 4, column = lane % 4 * 4;
            const detail::multiply_operands& from = of(lane);
            for (int half = 0; half < 2; ++half) {
                std::memcpy(A[g] + 16 * half + column, &from.signs.word[2 * half], 4);
                std::memcpy(A[g + 8] + 16 * half + column, &from.signs.word[2 * half + 1], 4);
                std::memcpy(X[g] + 16 * half + column, &from.digits.word[half], 4);
            }
        }
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                std::int32_t sum = 0;
                for (int j = 0; j < 32; ++j)
                    sum += A[row][j] * X[column][j];
                of(row % 8 * 4 + column / 2).sums[row / 8 * 2 + column % 2] += sum;
            }
    });
}

inline void count_common(block& b, std::int32_t (&counts)[4], const gpu::sign_fragment& signs,
                         const gpu::digit_fragment& planes) {
    detail::multiply_operands mine{counts, signs, planes};
    b.together(mine, [](auto of) {
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                int common = 0;
                for (int chunk = 0; chunk < 8; ++chunk) {
                    const int q = chunk % 4, half = chunk / 4;
                    const std::uint32_t a = of(4 * (row % 8) + q).signs.word[2 * half + row / 8];
                    const std::uint32_t x = of(4 * column + q).digits.word[half];
                    common += std::popcount(a & x);
                }
                of(row % 8 * 4 + column / 2).sums[row / 8 * 2 + column % 2] += common;
            }
    });
}

inline std::uint32_t pick_bytes(const block&, std::uint32_t x, std::uint32_t y, std::uint32_t selector) {
    const std::uint64_t bytes = std::uint64_t{y} << 32 | x;
    std::uint32_t picked = 0;
    for (int k = 0; k < 4; ++k)
        picked |= static_cast<std::uint32_t>(bytes >> 8 * (selector >> 4 * k & 7u) & 255u) << 8 * k;
    return picked;
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

inline void prefetch_words(const block&, const std::uint32_t*, subbit::index) {}

inline void copy_async(const block&, void* to, const void* from) {
    std::memcpy(to, from, gpu::copy_bytes);
}
inline void commit_copies(const block&) {}
template <int Pending>
void wait_for_copies(const block&, gpu::pending_copies<Pending>) {}

inline void wait_for_predecessor(block& b) {
    b.note_wait();
}

}  // namespace subbit::emulation
