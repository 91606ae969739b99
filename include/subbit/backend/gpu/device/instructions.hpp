// Instructions that kernels use and the host does not have. A kernel calls them with its block, whose namespace has
// them: cuda/instructions.cuh, and in plain loops emulated/instructions.hpp.
//
//     multiply_add(block, sums, signs, digits)
//         the tensor core's product of a warp, m16n8k32 with bytes and 32-bit sums: C (16,8) += A (16,32) X (32,8).
//         Of lane 4g + q are
//         - A, unsigned: bytes 4q.. of row g, of row g + 8, bytes 16 + 4q.. of both;
//         - X, signed: rows 4q.. of column g, rows 16 + 4q.. of it;
//         - C: columns 2q, 2q + 1 of row g, then of row g + 8.
//     count_common(block, counts, signs, planes)
//         the tensor core's count of a warp, m16n8k256 with single bits: C(i,j) += the number of bits that row i of A
//         (16,256) and column j of X (256,8) both have. Of lane 4g + q are, as words of 32 bits,
//         - A: bits 32q.. of row g, of row g + 8, bits 128 + 32q.. of both;
//         - X: bits 32q.. of column g, bits 128 + 32q.. of it;
//         - C: columns 2q, 2q + 1 of row g, then of row g + 8.
//     pick_bytes(block, x, y, selector)
//         the word whose byte k is byte `selector >> 4k & 7` of the eight that x, then y have
//     byte_sum(block, bytes)
//         the sum of four signed bytes
//     multiply_bytes(block, w, x0, x1, sum)
//         sum + four signed bytes times four signed 16-bit numbers, two in x0, two in x1
//     load_once(block, address)
//         a load of up to 16 bytes of what the launch reads only once
//     copy_async(block, to, from)
//         starts to copy 16 bytes from the device's memory to shared memory
//     commit_copies(block)
//         ends a group of copies
//     wait_for_copies(block, pending_copies<P>())
//         all groups but the last P have arrived, this thread's own
//     add_products(block, sums, signs, columns)
//         starts the tensor core's product of a warpgroup, 4 warps: C (64,N) += A (64,32 bytes) X (32 bytes,N), with
//         N / 2 sums a lane; 32-bit sums of bytes, or float sums of bfloat16 numbers, two bytes each. Warp w has rows
//         16w.. of A and C, its lanes as above, and sums[4j], .. are those of columns 8j..; X lies in shared memory, at
//         `columns`, as core_matrices (core_matrices.hpp) says, and is read by name of the memory's other proxy.
//         Between begin_products(block, signs...) and commit_products(block), as one group.
//     begin_products(block, signs...)
//         what was written to sums and to these signs is there for the products that follow
//     wait_for_products(block, pending_products<P>())
//         all groups but the last P are done: their signs and X may be written again
//     finish_products(block, sums...)
//         all groups are done, and their sums may be read
//     make_arrivals(block, arrivals, count)
//         makes arrivals, in shared memory, ready for copies; by one thread, before a sync()
//     copy_bulk(block, to, from, bytes, arrival)
//         starts to copy whole units of 16 bytes, less than 2^20 bytes in all, from the device's memory to shared
//         memory; by one thread, when all threads have waited for the last copy with this arrival
//     wait_for_bulk(block, arrival, parity)
//         by every thread for every copy: the arrival's next one is there, number 0, 2, .. (parity 0) or 1, 3, ..; for
//         products with a sync() after it
//     release_to_bulk(block)
//         this thread is done with shared memory that copy_bulk fills after a sync()
//     unit_pair(block, bits)
//         two bfloat16 numbers in a word: 1 for bit 15 and bit 31 where it is set, -1 where it is not
//     rounded_pair(block, low, high)
//         two floats as bfloat16 numbers, to nearest even, in a word
//     wait_for_predecessor(block)
//         returns when the kernel before this one on its stream is done, and what it wrote is there. Only a kernel that
//         `overlaps` (block.hpp) needs it; the first call matters, others cost nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

/// Before a loop of few rounds that must become straight code, since it indexes registers.
#if defined(__CUDA_ARCH__)
#define SUBBIT_UNROLL _Pragma("unroll")
#else
#define SUBBIT_UNROLL
#endif

namespace subbit::gpu {

/// A lane's part of A: 4 x 4 unsigned bytes, or 4 x 32 bits.
struct sign_fragment {
    std::uint32_t word[4];
};
/// A lane's part of X: 2 x 4 signed bytes, or 2 x 32 bits.
struct digit_fragment {
    std::uint32_t word[2];
};

/// Where a thread waits for bulk copies.
struct alignas(8) arrival {
    std::uint64_t state;
};

inline constexpr std::size_t copy_bytes = 16;
template <int Pending>
using pending_copies = std::integral_constant<int, Pending>;
template <int Pending>
using pending_products = std::integral_constant<int, Pending>;

}  // namespace subbit::gpu
