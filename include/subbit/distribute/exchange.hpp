// Numbers of a backend's memory travel between ranks: as they are where the ranks can reach that memory, else through
// the host's.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/distribute/communicator.hpp>
#include <subbit/distribute/shares.hpp>

#include <span>

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

/// Sends numbers of the backend's memory to a rank.
template <class B, class S>
void send(const B& b, const communicator& ranks, std::span<const S> numbers, int to) {
    if (detail::is_reachable(b, ranks)) return ranks.send(std::as_bytes(numbers), to);
    const vector<S> host = download(b, numbers);
    ranks.send(std::as_bytes(std::span<const S>(span_of(host))), to);
}

/// Receives as many numbers into the backend's memory.
template <class B, class S>
void receive(const B& b, const communicator& ranks, std::span<S> numbers, int from) {
    if (detail::is_reachable(b, ranks)) return ranks.receive(std::as_writable_bytes(numbers), from);
    vector<S> host(std::ssize(numbers));
    ranks.receive(std::as_writable_bytes(span_of(host)), from);
    upload(b, std::span<const S>(span_of(host)), numbers);
}

/// The owner's numbers, in the backend's memory, replace everyone else's.
template <class B, class S>
void broadcast(const B& b, const communicator& ranks, std::span<S> numbers, int owner) {
    if (ranks.is_alone() || numbers.empty()) return;
    if (detail::is_reachable(b, ranks)) return ranks.broadcast(std::as_writable_bytes(numbers), owner);
    vector<S> host(std::ssize(numbers));
    if (ranks.rank() == owner) host = download(b, std::span<const S>(numbers));
    ranks.broadcast(std::as_writable_bytes(span_of(host)), owner);
    if (ranks.rank() != owner) upload(b, std::span<const S>(span_of(host)), numbers);
}

/// Sums in a fixed order: the sum of `terms` terms, of which each rank has added its own (terms_of) into `part`, ends
/// in the owner's `part`; what the others' then hold is unspecified. `received` is memory that the call needs.
template <class B, class S>
void sum_to_owner(const B& b, const communicator& ranks, index terms, std::span<S> part, int owner,
                  vector_in<S, memory_of<B>>& received) {
    if (ranks.is_alone() || terms == 0) return;
    const auto move = [&](int from, int to, auto&& use) {
        if (ranks.rank() == from) send(b, ranks, std::span<const S>(part), to);
        if (ranks.rank() == to) use();
    };
    // Returns the rank that holds the node's sum: the owner if it is one of those that made it.
    const auto join = [&](const auto& self, const sum_node& node) -> int {
        if (node.is_leaf()) return node.first_rank;
        const int left = self(self, node.left()), right = self(self, node.right());
        const int to = right == owner ? right : left, from = to == left ? right : left;
        move(from, to, [&] {
            reshape(b, received, std::ssize(part));
            receive(b, ranks, span_of(received), from);
            axpby(b, 1, detail::as_row(std::span<const S>(const_span(received))), 1, detail::as_row(part));
        });
        return to;
    };
    const int holder = join(join, sum_node{{0, terms}, 0, ranks.size()});
    if (holder != owner) move(holder, owner, [&] { receive(b, ranks, part, holder); });
}

/// Rows of X (units * rows_per_unit, n), a contiguous matrix of the backend's memory: each rank has made those of its
/// even share of the units, and has all of them afterwards. The last unit may have fewer rows.
template <class B, class S>
void share_rows(const B& b, const communicator& ranks, matrix_view<S> X, index rows_per_unit) {
    if (ranks.is_alone()) return;
    const index units = (X.rows + rows_per_unit - 1) / rows_per_unit;
    for (int r = 0; r < ranks.size(); ++r) {
        const unit_range of = even_share(units, ranks.size(), r);
        const index first = of.first * rows_per_unit, last = std::min(X.rows, of.last * rows_per_unit);
        const auto rows = X.middle_rows(first, last - first);
        broadcast(b, ranks, std::span<S>(rows.data, static_cast<std::size_t>(rows.size())), r);
    }
}

}  // namespace subbit
