// What owners in a backend's memory are, how they change their shape, and how they come and go between it and the host.
#pragma once

#include <subbit/backend/factor_operations.hpp>
#include <subbit/backend/operations.hpp>
#include <subbit/bits/bit_matrix.hpp>

#include <concepts>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

template <class B>
struct memory_of {
    using type = B;
};
template <host_backend B>
struct memory_of<B> {
    using type = host_memory;
};

}  // namespace detail

/// The owners that a backend works on: the host's, or its own `matrix<S>`, `vector<S>` and `bits`.
template <class B>
using memory_of = typename detail::memory_of<B>::type;

template <class S, class Memory>
using matrix_in = typename Memory::template matrix<S>;
template <class S, class Memory>
using vector_in = typename Memory::template vector<S>;

/// Gives an owner another shape; its entries are then anything, and its memory is kept where it has the size.
template <class B, class M>
void reshape(const B& b, M& X, index rows, index cols) {
    do_reshape(typename B::tag{}, b, X, rows, cols);
}
template <class B, class V>
void reshape(const B& b, V& x, index n) {
    do_reshape(typename B::tag{}, b, x, n);
}

/// X(i,j) = value.
template <class B, class M>
void fill(const B& b, double value, M&& X) {
    const auto x = view(X);
    using S = typename decltype(x)::value_type;
    do_fill(typename B::tag{}, b, static_cast<S>(value), x);
}

/// The signs of X in the backend's memory: bit (i,j) is set where X(i,j) >= 0.
template <class B, class M>
void take_bits(const B& b, const M& X, typename memory_of<B>::bits& signs) {
    do_take_bits(typename B::tag{}, b, const_view(X), signs);
}

/// A host matrix, vector or bit_matrix in the backend's memory: moved where that is the host's.
template <class B, class T>
auto to_backend(const B& b, T host) {
    if constexpr (host_backend<B>)
        return host;
    else
        return do_to_backend(typename B::tag{}, b, host);
}

/// What is in the backend's memory as the host can read it: itself where that is the host's, else a copy.
template <class B, class T>
decltype(auto) on_host(const B& b, const T& owner) {
    if constexpr (host_backend<B>)
        return (owner);
    else
        return do_on_host(typename B::tag{}, b, owner);
}

/// The same as the host's own: moved where it is the host's already.
template <class B, class T>
auto to_host(const B& b, T owner) {
    if constexpr (host_backend<B>)
        return owner;
    else
        return do_on_host(typename B::tag{}, b, owner);
}

/// Copies host numbers over a span of the backend's memory, or such a span to the host; both of one size.
template <class B, class S>
void write_entries(const B& b, std::span<const S> host, std::span<S> entries) {
    require_size("write_entries", std::ssize(host), std::ssize(entries));
    do_write_entries(typename B::tag{}, b, host, entries);
}
template <class B, class S>
std::vector<S> read_entries(const B& b, std::span<const S> entries) {
    const auto host = download_vector(b, entries);
    return {host.begin(), host.end()};
}

/// What f(total) adds to a number of the backend's memory, a span of one double; waits for the backend.
template <class B, class F>
double total_of(const B& b, F&& f) {
    auto total = allocate_vector<double>(b, 1);
    f(span_of(total));
    return read_entries(b, std::span<const double>(span_of(total))).front();
}

template <host_backend B, class S>
void do_reshape(reference_tag, const B&, matrix<S>& X, index rows, index cols) {
    X.resize(rows, cols);
}

template <host_backend B, class S>
void do_reshape(reference_tag, const B&, vector<S>& x, index n) {
    x.resize(n);
}

template <class B, class S>
void do_fill(reference_tag, const B&, S value, matrix_view<S> X) {
    as_eigen(X).setConstant(value);
}

template <host_backend B, class S>
void do_take_bits(reference_tag, const B& b, matrix_view<const S> X, bit_matrix& signs) {
    signs = pack_signs(b, X);
}

template <host_backend B, class S>
void do_write_entries(reference_tag, const B&, std::span<const S> host, std::span<S> entries) {
    std::copy(host.begin(), host.end(), entries.begin());
}

}  // namespace subbit
