// The ranks of a job as threads of one process, for tests.
#pragma once

#include <subbit/distribute/communicator.hpp>

#include <barrier>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace subbit::testing {

/// What all ranks share: the messages on their way.
class mail {
  public:
    explicit mail(int ranks) : arrivals(ranks) {}

    void put(int from, int to, std::span<const std::byte> bytes) {
        const std::lock_guard lock(mutex_);
        waiting_[{from, to}].emplace_back(bytes.begin(), bytes.end());
        arrived_.notify_all();
    }
    void take(int from, int to, std::span<std::byte> bytes) {
        std::unique_lock lock(mutex_);
        auto& letters = waiting_[{from, to}];
        arrived_.wait(lock, [&] { return !letters.empty(); });
        const std::vector<std::byte> letter = std::move(letters.front());
        letters.pop_front();
        if (letter.size() != bytes.size()) throw communication_error("a message of another size");
        if (!letter.empty()) std::memcpy(bytes.data(), letter.data(), letter.size());
    }

    std::barrier<> arrivals;

  private:
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> waiting_;
};

class thread_rank final : public communicator {
  public:
    thread_rank(mail& letters, int rank, int size) : letters_(letters), rank_(rank), size_(size) {}

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    int size_here() const override { return size_; }
    int rank_here() const override { return rank_; }
    void barrier() const override { letters_.arrivals.arrive_and_wait(); }
    void broadcast(std::span<std::byte> bytes, int owner) const override {
        if (rank_ != owner) return receive(bytes, owner);
        for (int r = 0; r < size_; ++r)
            if (r != owner) send(bytes, r);
    }
    void send(std::span<const std::byte> bytes, int to) const override { letters_.put(rank_, to, bytes); }
    void start_send(std::span<const std::byte> bytes, int to) const override { send(bytes, to); }
    void finish_sends() const override {}
    void receive(std::span<std::byte> bytes, int from) const override { letters_.take(from, rank_, bytes); }

  private:
    mail& letters_;
    int rank_, size_;
};

/// Runs f(ranks) on every rank, and returns the results in the ranks' order.
template <class F>
auto on_ranks(int size, const F& f) {
    mail letters(size);
    std::vector<decltype(f(std::declval<const communicator&>()))> results(static_cast<std::size_t>(size));
    std::vector<std::jthread> threads;
    for (int r = 0; r < size; ++r)
        threads.emplace_back([&, r] { results[static_cast<std::size_t>(r)] = f(thread_rank(letters, r, size)); });
    threads.clear();
    return results;
}

}  // namespace subbit::testing
