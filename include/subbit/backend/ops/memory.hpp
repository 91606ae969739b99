// Owners in a backend's memory: how they are made, change their shape, and move between it and the host.
//
//     allocate        zeros in the backend's memory
//     reshape         another size for what is there
//     upload          from the host's memory to the backend's
//     download        from the backend's memory to the host's
//     on_host         a look at what may lie on either side: copied only where it must be
//
// The calls of a device itself (copy_to_device, send, fetch) are in gpu/backend.hpp.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/bits/bit_matrix.hpp>
#include <subbit/bits/host_memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <concepts>
#include <span>
#include <type_traits>
#include <utility>

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

/// The owners that a backend works on: those in the host's memory, or its own `matrix<S>`, `vector<S>` and `bits`.
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
auto allocate(const B& b, index n) {
    return do_allocate(typename B::tag{}, b, S{}, n);
}

namespace detail {

template <class T>
inline constexpr bool is_span = false;
template <class S>
inline constexpr bool is_span<std::span<S>> = true;

/// A view of numbers that another object owns: a span, a matrix_view, or a Map, Ref or block of Eigen's.
template <class T>
concept window = is_span<T> || requires(const T& x) {
    x.row_stride;
} ||(std::derived_from<T, Eigen::DenseBase<T>> && !std::derived_from<T, Eigen::PlainObjectBase<T>>);

/// Objects that are copied as a whole: a view, or the owner of a matrix, of a vector or of packed signs.
template <class T>
concept numbers = window<T> || requires(const T& x) {
    span_of(x);
} || requires(const T& x) {
    view(x);
} || requires(const T& x) {
    { x.view() } -> std::same_as<bit_view>;
};

template <numbers T>
auto read_only(const T& x) {
    if constexpr (is_span<T>)
        return std::span<const typename T::value_type>(x);
    else if constexpr (requires { span_of(x); })
        return const_span(x);
    else if constexpr (requires { view(x); })
        return const_view(x);
    else
        return x.view();
}

}  // namespace detail

/// A matrix, vector, bit_matrix, matrix_view or span of the host as an owner in the backend's memory. If that is the
/// host's memory, an rvalue owner is moved. Types of several parts, such as layers, overload it.
template <class B, class T>
requires detail::numbers<std::remove_cvref_t<T>>
auto upload(const B& b, T&& host) {
    if constexpr (host_backend<B> && !detail::window<std::remove_cvref_t<T>>)
        return std::remove_cvref_t<T>(std::forward<T>(host));
    else
        return do_upload(typename B::tag{}, b, detail::read_only(host));
}
/// Copies numbers from the host to a span of the backend's memory, which has the same size.
template <class B, class S>
void upload(const B& b, std::span<const S> host, std::span<S> entries) {
    require_size("upload", std::ssize(host), std::ssize(entries));
    do_upload(typename B::tag{}, b, host, entries);
}

/// The reverse: an object of the backend's memory as an owner in the host's. An rvalue owner is consumed: moved if its
/// memory is the host's, else freed after the copy. Types of several parts have their own do_download(backend_tag, ..).
template <class B, class T>
auto download(const B& b, T&& x) {
    using type = std::remove_cvref_t<T>;
    if constexpr (host_backend<B> && !detail::window<type>) {
        return type(std::forward<T>(x));
    } else if constexpr (!std::is_lvalue_reference_v<T> && !std::is_const_v<std::remove_reference_t<T>> &&
                         !detail::window<type>) {
        const type consumed(std::move(x));
        return download(b, consumed);
    } else if constexpr (detail::numbers<type>)
        return do_download(typename B::tag{}, b, detail::read_only(x));
    else
        return do_download(typename B::tag{}, b, x);
}

/// An owner that the host can read: the object itself if its memory is the host's, else a downloaded copy.
template <class B, class T>
decltype(auto) on_host(const B& b, const T& owner) {
    if constexpr (host_backend<B>)
        return (owner);
    else
        return download(b, owner);
}

/// A vector of the backend's memory as an n x 1 matrix, for the operations that take matrices.
template <class S>
matrix_view<S> as_column(std::span<S> v) {
    return {v.data(), std::ssize(v), 1};
}

/// Changes the shape of an owner. Its entries are unspecified afterwards; its memory is kept if it is large enough.
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

/// The sum that f(total) adds to a number of the backend's memory, a span of one double; waits for the backend.
template <class B, class F>
double total_of(const B& b, F&& f) {
    auto total = allocate<double>(b, 1);
    f(span_of(total));
    return download(b, total)(0);
}

}  // namespace subbit
