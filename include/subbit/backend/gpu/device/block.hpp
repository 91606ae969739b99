// What a kernel is, and what a thread block offers it.
//
// A kernel is a trivially copyable struct with
//
//     template <class Block>
//     SUBBIT_KERNEL void operator()(Block& block) const;
//
// which every thread of every block of a launch calls. `block` is the GPU's (cuda/block.cuh) or the emulation's
// (emulated/block.hpp); both offer
//
//     index(), blocks()                 which block this is, of how many
//     thread(), threads()               which thread of the block, of how many (a multiple of 32)
//     lane(), warp(), warps()           thread % 32, thread / 32, threads / 32
//     sync(), sync_warp()               every thread of the block, or of the warp, gets here before any goes on
//     shared<T>(count)                  memory of the block, out of the launch's bytes; all threads ask in one order
//     shuffle(x, from)                  the x of lane `from` of the warp
//     shuffle_xor(x, mask)              the x of lane lane() ^ mask
//     shuffle_down(x, by)               the x of lane lane() + by, or one's own where there is none
//     ballot(condition)                 bit l is set where lane l's condition holds
//     warp_reduce(x, op), reduce(x, op) x combined over the warp, the block; every thread gets the result
//     warp_sum(x), sum(x)               the same with op = plus
//
// All threads of a warp, or of the block, must take part in an exchange: the emulation throws if some are missing. The
// order of a reduction depends on the shape of the launch alone. T of shared memory and exchanges is trivially copyable
// and has at most 16 bytes.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/kernel.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace subbit::gpu {

inline constexpr int warp_size = 32;

/// The usual number of threads of a block, and that of a block that works alone.
inline constexpr int usual_threads = 256, lone_threads = 1024;

/// The shape of a launch: its number of blocks, the threads of each (a multiple of 32), and the bytes of shared memory
/// of each.
struct launch_shape {
    index blocks = 1;
    int threads = usual_threads;
    std::size_t shared_bytes = 0;
};

/// The largest number of threads in a block of this kernel: its member `static constexpr int most_threads`, or the
/// usual number. It limits the registers of a thread: 64 for 1024 threads.
template <class Kernel>
inline constexpr int most_threads = [] {
    if constexpr (requires { Kernel::most_threads; })
        return Kernel::most_threads;
    else
        return usual_threads;
}();

/// How many blocks of this kernel a multiprocessor must be able to run at once, its member `static constexpr int
/// least_blocks`; 0: any number. The registers are limited accordingly.
template <class Kernel>
inline constexpr int least_blocks = [] {
    if constexpr (requires { Kernel::least_blocks; })
        return Kernel::least_blocks;
    else
        return 0;
}();

/// Whether a kernel may start before its predecessor on the stream is done, if the predecessor declares the same: its
/// member `static constexpr bool overlaps`. With it a kernel promises
///
/// - that every thread calls wait_for_predecessor(block) (instructions.hpp) before it writes anything, and before it
///   reads anything that the kernel before it may have written: all but weights, the signs and scales of packed layers,
///   where any kernel may be the one before it;
/// - that it writes no weights.
///
/// wait_for_predecessor() returns when the predecessor is done and everything it wrote is visible; only then may the
/// next kernel start. So, by induction, while a kernel runs, all earlier kernels except its predecessor are done, and
/// the predecessor writes no weights. Hence weights, and whatever only those earlier kernels have written, can be read
/// at once. A kernel that does not overlap starts when its predecessor is done, and its successor waits for it.
template <class Kernel>
inline constexpr bool overlaps = [] {
    if constexpr (requires { Kernel::overlaps; })
        return Kernel::overlaps;
    else
        return false;
}();

/// Whether a kernel uses products of warpgroups or bulk copies: its member `static constexpr bool needs_warpgroups`.
/// Only a device that has_warpgroup_products() runs it. A kernel with such products has threads in whole warpgroups of
/// 128.
template <class Kernel>
inline constexpr bool needs_warpgroups = [] {
    if constexpr (requires { Kernel::needs_warpgroups; })
        return Kernel::needs_warpgroups;
    else
        return false;
}();

/// Throws value_error for a launch that a GPU would refuse.
template <class Kernel>
void require_launchable(const launch_shape& shape) {
    static_assert(std::is_trivially_copyable_v<Kernel>, "a kernel is copied to the device byte by byte");
    constexpr std::size_t most_shared = 227 * 1024;  // sm_90
    if (shape.blocks < 1 || shape.blocks > 0x7fffffff || shape.threads < warp_size ||
        shape.threads > most_threads<Kernel> || shape.threads % warp_size != 0 || shape.shared_bytes > most_shared)
        throw value_error("launch of " + std::to_string(shape.blocks) + " blocks of " + std::to_string(shape.threads) +
                          " threads with " + std::to_string(shape.shared_bytes) +
                          " bytes: expected 1 to 2^31-1 blocks, a multiple of 32 up to " +
                          std::to_string(most_threads<Kernel>) + " threads, at most 232448 bytes");
}

/// Enough threads for `items`, but no more blocks than keep a GPU busy: kernels loop over the rest.
inline launch_shape cover(index items) {
    constexpr index most_blocks = 2048;
    return {std::clamp<index>((items + usual_threads - 1) / usual_threads, 1, most_blocks)};
}

/// Enough warps for `items`, eight a block.
inline launch_shape cover_by_warps(index items) {
    return cover(items * warp_size);
}

/// A block for each row, of a thread for each 4 entries.
inline launch_shape cover_by_blocks(index rows, index cols) {
    const index threads = (cols / 4 + warp_size - 1) / warp_size * warp_size;
    return {std::clamp<index>(rows, 1, 1 << 16),
            static_cast<int>(std::clamp<index>(threads, warp_size, usual_threads))};
}

/// One block, of as many threads as `items` can use: for kernels whose most_threads are lone_threads.
inline launch_shape one_block(index items) {
    const index rounded = (items + warp_size - 1) / warp_size * warp_size;
    return {1, static_cast<int>(std::clamp<index>(rounded, warp_size, lone_threads))};
}

/// Calls f(i) for every i below n, each on one thread of the launch.
template <class Block, class F>
SUBBIT_KERNEL void for_each_thread(const Block& block, index n, F f) {
    const index step = block.blocks() * block.threads();
    for (index i = block.index() * block.threads() + block.thread(); i < n; i += step)
        f(i);
}

struct entry_place {
    index row, col;
};
/// Row and column of the e-th entry of a matrix, row by row. A 64-bit division takes several times as long as a 32-bit
/// one, so it is avoided where possible.
SUBBIT_KERNEL inline entry_place place_of(index e, index cols) {
    const bool small = e <= 0xffffffff && cols <= 0xffffffff;
    const index row =
        small ? static_cast<index>(static_cast<std::uint32_t>(e) / static_cast<std::uint32_t>(cols)) : e / cols;
    return {row, e - row * cols};
}

/// Calls f(i, j) for every entry of a rows x cols matrix, neighbours in a row on neighbouring threads.
template <class Block, class F>
SUBBIT_KERNEL void for_each_entry(const Block& block, index rows, index cols, F f) {
    for_each_thread(block, rows * cols, [&](index e) {
        const entry_place at = place_of(e, cols);
        f(at.row, at.col);
    });
}

/// Calls f(i) for every i below n, each on all lanes of one warp of the launch.
template <class Block, class F>
SUBBIT_KERNEL void for_each_warp(const Block& block, index n, F f) {
    const index step = block.blocks() * block.warps();
    for (index i = block.index() * block.warps() + block.warp(); i < n; i += step)
        f(i);
}

/// Operations of a reduction.
struct plus {
    template <class T>
    SUBBIT_KERNEL T operator()(T a, T b) const {
        return a + b;
    }
};
struct maximum {
    template <class T>
    SUBBIT_KERNEL T operator()(T a, T b) const {
        return a < b ? b : a;
    }
};

}  // namespace subbit::gpu
