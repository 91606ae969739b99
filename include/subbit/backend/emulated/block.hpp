// The block of the emulation: one object a thread, over what the block's threads share.
#pragma once

#include <subbit/backend/emulated/bulk_copies.hpp>
#include <subbit/backend/emulated/fibers.hpp>
#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/packed/core_matrices.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit::emulation {

/// The products of a warpgroup that are at work, in the order in which they are done.
struct product_groups {
    std::vector<std::function<void()>> open;  ///< of the group that has not been committed
    std::deque<std::vector<std::function<void()>>> committed;

    void commit() { committed.push_back(std::exchange(open, {})); }
    /// All groups but the last `pending`.
    void finish(std::size_t pending) {
        for (; committed.size() > pending; committed.pop_front())
            for (const auto& product : committed.front())
                product();
    }
};

/// What the threads of one block share. A warp's values are exchanged through two sets of slots in turn: who has passed
/// a barrier may deposit its next value while others still read the last one. The third set is the whole block's.
struct block_state {
    using slot = std::array<std::byte, 16>;

    block_state(fiber_group& group, const gpu::launch_shape& launch)
        : fibers(group), shape(launch), bulk(group, launch.threads) {
        const auto threads = static_cast<std::size_t>(launch.threads);
        slots.fill(std::vector<slot>(threads));
        operands.resize(threads);
        warps.resize(threads / gpu::warp_size);
        warpgroups.resize(threads / gpu::warpgroup_size);
        products.resize(warpgroups.size());
        shared.resize(launch.shared_bytes + 16);
    }
    /// Makes it ready for the next block; shared memory holds NaN.
    void begin() {
        all = {shape.threads};
        waited = 0;
        for (barrier& b : warps)
            b = {gpu::warp_size};
        for (barrier& b : warpgroups)
            b = {gpu::warpgroup_size};
        std::memset(shared.data(), 0xff, shared.size());
        bulk.clear();
    }
    /// Throws error where a block ends before what it has begun.
    void require_done() const {
        bulk.require_done();
        for (const product_groups& p : products)
            if (!p.open.empty() || !p.committed.empty())
                throw error("emulated block: ends before products of a warpgroup that nobody has waited for");
    }

    fiber_group& fibers;
    gpu::launch_shape shape;
    barrier all;
    std::vector<barrier> warps, warpgroups;
    std::array<std::vector<slot>, 3> slots;
    std::vector<void*> operands;  // of what the threads of a warp or a warpgroup do together
    std::vector<std::byte> shared;
    bulk_copies bulk;
    std::vector<product_groups> products;  // of each warpgroup
    int waited = 0;                        // threads that have waited for the kernel before this one
};

/// The emulation's block, as one thread sees it.
class block {
  public:
    block(block_state& state, subbit::index number, int thread) : state_(&state), number_(number), thread_(thread) {}

    subbit::index index() const { return number_; }
    subbit::index blocks() const { return state_->shape.blocks; }
    int thread() const { return thread_; }
    int threads() const { return state_->shape.threads; }
    int lane() const { return thread_ % gpu::warp_size; }
    int warp() const { return thread_ / gpu::warp_size; }
    int warps() const { return threads() / gpu::warp_size; }

    /// wait_for_predecessor(), which has nothing to wait for here, since launches are done one by one.
    void note_wait() {
        state_->waited += !waited_;
        waited_ = true;
    }

    bulk_copies& bulk() { return state_->bulk; }
    product_groups& products() { return state_->products[static_cast<std::size_t>(thread_ / gpu::warpgroup_size)]; }

    void sync() { state_->fibers.wait(state_->all); }
    void sync_warp() { state_->fibers.wait(state_->warps[static_cast<std::size_t>(warp())]); }

    template <class T>
    T* shared(subbit::index count) {
        const auto bytes = (static_cast<std::size_t>(count) * sizeof(T) + 15) / 16 * 16;
        if (shared_used_ + bytes > (state_->shape.shared_bytes + 15) / 16 * 16)
            throw error("emulated block: " + std::to_string(shared_used_ + bytes) +
                        " bytes of shared memory, the launch has " + std::to_string(state_->shape.shared_bytes));
        T* const memory = reinterpret_cast<T*>(state_->shared.data() + shared_used_);
        shared_used_ += bytes;
        return memory;
    }

    /// Calls f(of) once for the warp, when all lanes are here; of(l) is lane l's `mine`.
    template <class T, class F>
    void together(T& mine, F f) {
        meet(state_->warps[static_cast<std::size_t>(warp())], mine, f);
    }
    /// The same for the 128 threads of a warpgroup.
    template <class T, class F>
    void warpgroup_together(T& mine, F f) {
        meet(state_->warpgroups.at(static_cast<std::size_t>(thread_ / gpu::warpgroup_size)), mine, f);
    }
    template <class T>
    T shuffle(T x, int from) {
        return exchange(x, from);
    }
    template <class T>
    T shuffle_xor(T x, int mask) {
        return exchange(x, lane() ^ mask);
    }
    template <class T>
    T shuffle_down(T x, int by) {
        return exchange(x, lane() + by < gpu::warp_size ? lane() + by : lane());
    }
    std::uint32_t ballot(bool condition) {
        deposit(condition, turn_);
        sync_warp();
        std::uint32_t bits = 0;
        for (int l = 0; l < gpu::warp_size; ++l)
            bits |= static_cast<std::uint32_t>(deposited<bool>(first_lane() + l, turn_)) << l;
        turn_ ^= 1u;
        return bits;
    }

    template <class T, class Op>
    T warp_reduce(T x, Op op) {
        deposit(x, turn_);
        sync_warp();
        const T result = reduced_warp<T>(first_lane(), op, turn_);
        turn_ ^= 1u;
        return result;
    }
    template <class T, class Op>
    T reduce(T x, Op op) {
        x = warp_reduce(x, op);
        deposit(x, whole_block);
        sync();
        x = deposited<T>(0, whole_block);
        for (int w = 1; w < warps(); ++w)
            x = op(x, deposited<T>(w * gpu::warp_size, whole_block));
        sync();  // the slots may be written again
        return x;
    }
    template <class T>
    T warp_sum(T x) {
        return warp_reduce(x, gpu::plus{});
    }
    template <class T>
    T sum(T x) {
        return reduce(x, gpu::plus{});
    }

  private:
    static constexpr std::size_t whole_block = 2;  // its set of slots

    int first_lane() const { return warp() * gpu::warp_size; }

    /// Of the threads that `b` is for, which are neighbours.
    template <class T, class F>
    void meet(barrier& b, T& mine, F f) {
        state_->operands[static_cast<std::size_t>(thread_)] = &mine;
        const int first = thread_ / b.size * b.size;
        if (b.arrived + 1 == b.size)
            f([this, first](int i) -> T& {
                return *static_cast<T*>(state_->operands[static_cast<std::size_t>(first + i)]);
            });
        state_->fibers.wait(b);
    }

    template <class T>
    void deposit(T x, std::size_t set) {
        static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(block_state::slot));
        std::memcpy(state_->slots[set][static_cast<std::size_t>(thread_)].data(), &x, sizeof(T));
    }
    template <class T>
    T deposited(int thread, std::size_t set) const {
        T x;
        std::memcpy(&x, state_->slots[set][static_cast<std::size_t>(thread)].data(), sizeof(T));
        return x;
    }

    template <class T>
    T exchange(T x, int from) {
        deposit(x, turn_);
        sync_warp();
        const T result = deposited<T>(first_lane() + from, turn_);
        turn_ ^= 1u;
        return result;
    }
    /// In the order of a butterfly of shuffles, as the GPU does it.
    template <class T, class Op>
    T reduced_warp(int first, Op op, std::size_t set) const {
        std::array<T, gpu::warp_size> x;
        for (int l = 0; l < gpu::warp_size; ++l)
            x[static_cast<std::size_t>(l)] = deposited<T>(first + l, set);
        for (std::size_t half = gpu::warp_size / 2; half > 0; half /= 2)
            for (std::size_t l = 0; l < half; ++l)
                x[l] = op(x[l], x[l + half]);
        return x[0];
    }

    block_state* state_;
    subbit::index number_;
    int thread_;
    std::size_t shared_used_ = 0;
    bool waited_ = false;
    std::size_t turn_ = 0;  // the set of slots of the warp's next exchange
};

}  // namespace subbit::emulation
