// The processes that work on one job together, its ranks: who they are, and how bytes travel between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

/// The ranks of a job, of which this process is one. Every rank runs the same program on the same data and makes the
/// same calls in the same order; the calls in which data travels wait for each other.
///
/// An error on one rank leaves the others waiting: the program that catches it ends all of them
/// (docs/distribution.md).
class communicator {
  public:
    communicator() = default;
    communicator(const communicator&) = delete;
    communicator& operator=(const communicator&) = delete;
    virtual ~communicator() = default;

    virtual int rank() const = 0;  ///< of this process, from 0 on
    virtual int size() const = 0;  ///< number of ranks
    /// The number of ranks on this process's machine, which share its cores.
    virtual int size_here() const = 0;
    virtual int rank_here() const = 0;  ///< of this process among them

    /// Returns when every rank has called it.
    virtual void barrier() const = 0;
    /// The owner's bytes replace everyone else's; all ranks pass as many.
    virtual void broadcast(std::span<std::byte> bytes, int owner) const = 0;
    virtual void send(std::span<const std::byte> bytes, int to) const = 0;
    /// Sends without waiting for the receiver; the bytes must stay as they are until finish_sends().
    virtual void start_send(std::span<const std::byte> bytes, int to) const = 0;
    virtual void finish_sends() const = 0;
    /// Receives as many bytes as `from` sends.
    virtual void receive(std::span<std::byte> bytes, int from) const = 0;
    /// Whether the memory of this process's device can be sent and received as it is.
    virtual bool takes_device_memory() const { return false; }

    bool is_alone() const { return size() == 1; }
    /// True on the rank that writes files and reports progress.
    bool leads() const { return rank() == 0; }
};

/// A job of one process.
class single final : public communicator {
  public:
    int rank() const override { return 0; }
    int size() const override { return 1; }
    int size_here() const override { return 1; }
    int rank_here() const override { return 0; }
    void barrier() const override {}
    void broadcast(std::span<std::byte>, int) const override {}
    void send(std::span<const std::byte>, int) const override {}
    void start_send(std::span<const std::byte>, int) const override {}
    void finish_sends() const override {}
    void receive(std::span<std::byte>, int) const override {}
};

/// The ranks of a job that was not given any.
inline const communicator& this_process_alone() {
    static const single alone;
    return alone;
}

/// The owner's numbers replace everyone else's.
template <class T>
requires std::is_trivially_copyable_v<T>
void broadcast(const communicator& ranks, std::span<T> numbers, int owner) {
    ranks.broadcast(std::as_writable_bytes(numbers), owner);
}

/// Sends a string or vector of any length.
template <class Container>
void send_all(const communicator& ranks, const Container& numbers, int to) {
    const std::uint64_t size = numbers.size();
    ranks.send(std::as_bytes(std::span(&size, 1)), to);
    ranks.send(std::as_bytes(std::span(numbers.data(), numbers.size())), to);
}

/// Receives what send_all sends.
template <class Container>
void receive_all(const communicator& ranks, Container& numbers, int from) {
    std::uint64_t size = 0;
    ranks.receive(std::as_writable_bytes(std::span(&size, 1)), from);
    numbers.resize(size);
    ranks.receive(std::as_writable_bytes(std::span(numbers.data(), numbers.size())), from);
}

/// The owner's string or vector replaces everyone else's, whatever their length.
template <class Container>
void broadcast_all(const communicator& ranks, Container& numbers, int owner) {
    std::uint64_t size = numbers.size();
    broadcast(ranks, std::span(&size, 1), owner);
    numbers.resize(size);
    broadcast(ranks, std::span(numbers.data(), numbers.size()), owner);
}

/// Makes one string or vector of all ranks', the same on each: the rank that leads calls add(numbers, other) for those
/// of ranks 1, 2, ...
template <class Container, class F>
void join_all(const communicator& ranks, Container& numbers, const F& add) {
    if (ranks.is_alone()) return;
    if (!ranks.leads()) send_all(ranks, numbers, 0);
    for (int r = 1; ranks.leads() && r < ranks.size(); ++r) {
        Container other;
        receive_all(ranks, other, r);
        add(numbers, std::as_const(other));
    }
    broadcast_all(ranks, numbers, 0);
}

/// Every rank's numbers, as many on each, added entry by entry in the order of the ranks; all ranks have the sums.
template <class T>
void sum_all(const communicator& ranks, std::vector<T>& numbers) {
    join_all(ranks, numbers, [](std::vector<T>& sums, const std::vector<T>& other) {
        for (std::size_t i = 0; i < sums.size(); ++i)
            sums[i] += other[i];
    });
}

}  // namespace subbit
