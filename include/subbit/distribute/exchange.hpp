// Numbers of a backend's memory travel between ranks: as they are where the ranks can reach that memory, else through
// the host's.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/distribute/communicator.hpp>
#include <subbit/distribute/shares.hpp>

#include <algorithm>
#include <deque>
#include <span>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

/// True where the ranks reach the backend's memory; the backend has then finished its work on it.
template <class B>
bool is_reachable(const B& b, const communicator& ranks) {
    if constexpr (host_backend<B>) return true;
    if (!ranks.takes_device_memory()) return false;
    if constexpr (requires { b.synchronize(); }) b.synchronize();
    return true;
}

template <class S>
matrix_view<S> as_row(std::span<S> v) {
    return {v.data(), 1, std::ssize(v)};
}

}  // namespace detail

/// Receives as many numbers into the backend's memory.
template <class B, class S>
void receive(const B& b, const communicator& ranks, std::span<S> numbers, int from) {
    if (detail::is_reachable(b, ranks)) return ranks.receive(std::as_writable_bytes(numbers), from);
    vector<S> host(std::ssize(numbers));
    ranks.receive(std::as_writable_bytes(span_of(host)), from);
    upload(b, std::span<const S>(span_of(host)), numbers);
}

/// Numbers of the backend's memory of which one rank has the last word.
template <class S>
struct owned_numbers {
    std::span<S> numbers;
    int owner;
};

namespace detail {

/// Messages of this rank that may still be on their way, so that ranks which send to each other do so at once.
template <class B, class S>
class messages_under_way {
  public:
    messages_under_way(const B& b, const communicator& ranks) : b_(b), ranks_(ranks) {}

    void start(std::span<const S> numbers, int to) {
        if (!is_reachable(b_, ranks_)) {
            copies_.push_back(download(b_, numbers));
            numbers = span_of(copies_.back());
        }
        ranks_.start_send(std::as_bytes(numbers), to);
    }
    void finish() { ranks_.finish_sends(); }

  private:
    const B& b_;
    const communicator& ranks_;
    std::deque<vector<S>> copies_;
};

}  // namespace detail

/// Sums in a fixed order, many at a time: each is a sum of `terms` terms, of which every rank has added its own
/// (terms_of) into its numbers, and ends in its owner's numbers; what the others' then hold is unspecified. `received`
/// is memory that the call needs.
template <class B, class S>
void sum_to_owners(const B& b, const communicator& ranks, index terms, std::span<const owned_numbers<S>> sums,
                   vector_in<S, memory_of<B>>& received) {
    if (ranks.is_alone() || terms == 0) return;
    detail::messages_under_way<B, S> messages(b, ranks);
    // Every sum from one rank to another: first all that this rank sends, then all that it receives.
    const auto move = [&](const std::vector<int>& from, const std::vector<int>& to, auto&& use) {
        for (std::size_t i = 0; i < sums.size(); ++i)
            if (ranks.rank() == from[i] && from[i] != to[i]) messages.start(std::span<const S>(sums[i].numbers), to[i]);
        for (std::size_t i = 0; i < sums.size(); ++i)
            if (ranks.rank() == to[i] && from[i] != to[i]) use(sums[i].numbers, from[i]);
    };
    // Returns the ranks that hold the node's sums: their owners, where those are among the ranks that made them.
    const auto join = [&](const auto& self, const sum_node& node) -> std::vector<int> {
        if (node.is_leaf()) return std::vector<int>(sums.size(), node.first_rank);
        std::vector<int> to = self(self, node.left()), from = self(self, node.right());
        for (std::size_t i = 0; i < sums.size(); ++i)
            if (from[i] == sums[i].owner) std::swap(from[i], to[i]);
        move(from, to, [&](std::span<S> numbers, int other) {
            reshape(b, received, std::ssize(numbers));
            receive(b, ranks, span_of(received), other);
            axpby(b, 1, detail::as_row(std::span<const S>(const_span(received))), 1, detail::as_row(numbers));
        });
        return to;
    };
    std::vector<int> owners(sums.size());
    std::transform(sums.begin(), sums.end(), owners.begin(), [](const auto& sum) { return sum.owner; });
    move(join(join, sum_node{{0, terms}, 0, ranks.size()}), owners,
         [&](std::span<S> numbers, int holder) { receive(b, ranks, numbers, holder); });
    messages.finish();
}

/// Every owner's numbers replace everyone else's.
template <class B, class S>
void share_owned(const B& b, const communicator& ranks, std::span<const owned_numbers<S>> all) {
    if (ranks.is_alone()) return;
    detail::messages_under_way<B, S> messages(b, ranks);
    for (const auto& [numbers, owner] : all)
        for (int to = 0; to < ranks.size(); ++to)
            if (owner == ranks.rank() && to != owner) messages.start(std::span<const S>(numbers), to);
    for (const auto& [numbers, owner] : all)
        if (owner != ranks.rank()) receive(b, ranks, numbers, owner);
    messages.finish();
}

/// Rows of X (units * rows_per_unit, n), a contiguous matrix of the backend's memory: each rank has made those of its
/// even share of the units, and has all of them afterwards. The last unit may have fewer rows.
template <class B, class S>
void share_rows(const B& b, const communicator& ranks, matrix_view<S> X, index rows_per_unit) {
    if (ranks.is_alone()) return;
    const index units = (X.rows + rows_per_unit - 1) / rows_per_unit;
    std::vector<owned_numbers<S>> all;
    for (int r = 0; r < ranks.size(); ++r) {
        const unit_range of = even_share(units, ranks.size(), r);
        const index first = of.first * rows_per_unit, last = std::min(X.rows, of.last * rows_per_unit);
        const auto rows = X.middle_rows(first, last - first);
        all.push_back({{rows.data, static_cast<std::size_t>(rows.size())}, r});
    }
    share_owned(b, ranks, std::span<const owned_numbers<S>>(all));
}

}  // namespace subbit
