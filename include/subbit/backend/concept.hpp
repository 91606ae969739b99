// What a backend is: a small value with a tag and the types of its memory.
//
// A tag inherits from the tag it extends, and every operation is an overload set `do_OPERATION(tag, backend, ...)`: the
// most derived tag wins, and `reference_tag` always has a version. So a new backend whose memory is the host's works
// without any operation of its own, and overloads those that take the time; a device's tag extends `gpu_tag`, or only
// `backend_tag`. Overloads are found by argument-dependent lookup in the tag's own namespace.
#pragma once

#include <subbit/core/matrix.hpp>

#include <concepts>
#include <type_traits>

namespace subbit {

/// The root of all backend tags; it has no operations.
struct backend_tag {};

/// The root of the backends whose memory is the host's; its operations are plain loops.
struct reference_tag : backend_tag {};

/// A backend: a tag and the owners in its memory. view() accepts its `matrix<S>`, span_of() its `vector<S>`.
template <class B, class S = float>
concept backend = std::copyable<B> && std::derived_from<typename B::tag, backend_tag> && requires {
    typename B::template matrix<S>;
    typename B::template vector<S>;
};

/// Whether matrix products are so much faster than solves on a backend that a few of them should replace a solve: its
/// member `static constexpr bool solves_by_products`.
template <class B>
inline constexpr bool solves_by_products = [] {
    if constexpr (requires { B::solves_by_products; })
        return B::solves_by_products;
    else
        return false;
}();

/// A backend whose memory is the host's and that can divide loops among threads, for models written as plain loops.
template <class B>
concept host_backend = backend<B> && requires(const B& b, void (*body)(index, index)) {
    b.parallel_for(index{}, index{}, body);
    { b.threads() } -> std::convertible_to<int>;
};

/// How many rows of independent windows pass through a block at once: enough to keep the machine busy, and few enough
/// for a processor's caches.
template <backend B>
inline constexpr index rows_at_once = host_backend<B> ? 512 : 4096;

/// A backend whose memory is not the host's: what works there needs kernels of its own.
template <class B>
concept device_backend = backend<B> && !host_backend<B>;

/// The bytes of a vector register.
template <index Bytes>
using register_size = std::integral_constant<index, Bytes>;

namespace detail {

/// The registers of the instructions for which the compiler compiles the file.
using compiled_registers = register_size<__BIGGEST_ALIGNMENT__>;

template <class Registers, class F>
[[gnu::always_inline]] inline void call_vectorized(Registers registers, F& f) {
    if constexpr (std::invocable<F&, Registers>)
        f(registers);
    else
        f();
}

}  // namespace detail

/// Calls f(), with its loops vectorized for the machine if the backend can do that. An f that keeps vectors in
/// registers itself takes their size: f(register_size<N>{}).
template <host_backend B, class F>
void vectorized(const B& b, F&& f) {
    if constexpr (requires { b.vectorized(f); })
        b.vectorized(f);
    else
        detail::call_vectorized(detail::compiled_registers{}, f);
}

/// parallel_for whose body is a plain loop for the compiler to vectorize; it must not call another operation.
template <host_backend B, class F>
void vectorized_for(const B& b, index n, index grain, F&& f) {
    b.parallel_for(n, grain, [&](index begin, index end) { vectorized(b, [&] { f(begin, end); }); });
}

}  // namespace subbit
