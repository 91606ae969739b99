// Owners in a backend's memory: how they are made, change their shape, and come and go between it and the host.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/bits/host_memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <span>
#include <vector>

namespace subbit {

/// Read-only view of an owner or view.
template <class M>
auto const_view(const M& m) {
    const auto v = view(m);
    using T = typename decltype(v)::value_type;
    return matrix_view<const T>(v);
}

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

/// A rows x cols matrix in the backend's memory, all zero.
template <class S, backend<S> B>
auto allocate(const B& b, index rows, index cols) {
    return do_allocate(typename B::tag{}, b, S{}, rows, cols);
}

/// n zeros in the backend's memory.
template <class S, class B>
auto allocate_vector(const B& b, index n) {
    return do_allocate_vector(typename B::tag{}, b, S{}, n);
}

/// Copies a host matrix into the backend's memory.
template <class B, class M>
auto upload(const B& b, const M& host) {
    return do_upload(typename B::tag{}, b, const_view(host));
}

/// Copies host numbers into a vector of the backend's memory.
template <class B, class S>
auto upload_vector(const B& b, std::span<const S> host) {
    return do_upload_vector(typename B::tag{}, b, host);
}

/// Copies a matrix of the backend's memory to the host.
template <class B, class M>
auto download(const B& b, const M& device) {
    return do_download(typename B::tag{}, b, const_view(device));
}

/// Copies numbers of the backend's memory to the host.
template <class B, class S>
vector<S> download_vector(const B& b, std::span<const S> device) {
    return do_download_vector(typename B::tag{}, b, device);
}

/// A vector of the backend's memory as an n x 1 matrix, for the operations that take matrices.
template <class S>
matrix_view<S> as_column(std::span<S> v) {
    return {v.data(), std::ssize(v), 1};
}

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

/// Packs the signs of X: bit (i,j) is set where X(i,j) >= 0.
template <class B, class M>
bit_matrix pack_signs(const B& b, const M& X) {
    return do_pack_signs(typename B::tag{}, b, const_view(X));
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

}  // namespace subbit
