// Sixteen floats or eight doubles side by side, in the compilers' vector extension: a sum over lanes has one order on
// every instruction set, and needs no -ffast-math to be vectorized.
#pragma once

#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstring>

namespace subbit {

/// 64 bytes of S. It is never passed by value: without AVX-512 that would have another calling convention.
template <class S>
struct lanes {
    static constexpr index count = static_cast<index>(64 / sizeof(S));
    typedef S pack __attribute__((vector_size(64)));
    pack v;

    /// The first min(n, count) numbers at p; the other lanes are zero.
    [[gnu::always_inline]] void load(const S* p, index n) {
        if (n >= count) {
            std::memcpy(&v, p, 64);
        } else {
            v = pack{};
            std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(S));
        }
    }
    /// The same from numbers of another precision.
    template <class T>
    [[gnu::always_inline]] void load_converted(const T* p, index n) {
        typedef T source __attribute__((vector_size(count * sizeof(T))));
        source x{};
        std::memcpy(&x, p, static_cast<std::size_t>(std::min(n, count)) * sizeof(T));
        v = __builtin_convertvector(x, pack);
    }
    [[gnu::always_inline]] void store(S* p, index n) const {
        std::memcpy(p, &v, static_cast<std::size_t>(std::min(n, count)) * sizeof(S));
    }
    /// The sum over the lanes, in order.
    [[gnu::always_inline]] double total() const {
        double sum = 0;
        for (index l = 0; l < count; ++l)
            sum += static_cast<double>(v[l]);
        return sum;
    }
};

/// sum_j x_j y_j
template <class S>
[[gnu::always_inline]] inline double lane_dot(const S* x, const S* y, index n) {
    lanes<S> sum{};
    for (index j = 0; j < n; j += lanes<S>::count) {
        lanes<S> a, b;
        a.load(x + j, n - j);
        b.load(y + j, n - j);
        sum.v += a.v * b.v;
    }
    return sum.total();
}

/// sum_j |x_j| y_j
template <class S>
[[gnu::always_inline]] inline double lane_abs_dot(const S* x, const S* y, index n) {
    lanes<S> sum{};
    for (index j = 0; j < n; j += lanes<S>::count) {
        lanes<S> a, b;
        a.load(x + j, n - j);
        b.load(y + j, n - j);
        sum.v += (a.v < 0 ? -a.v : a.v) * b.v;
    }
    return sum.total();
}

/// sum_j |x_j|
template <class S>
[[gnu::always_inline]] inline double lane_abs_sum(const S* x, index n) {
    lanes<S> sum{};
    for (index j = 0; j < n; j += lanes<S>::count) {
        lanes<S> a;
        a.load(x + j, n - j);
        sum.v += a.v < 0 ? -a.v : a.v;
    }
    return sum.total();
}

/// sum_j x_j^2, in double
template <class S>
[[gnu::always_inline]] inline double lane_square_sum(const S* x, index n) {
    lanes<double> sum{};
    for (index j = 0; j < n; j += lanes<double>::count) {
        lanes<double> a;
        a.load_converted(x + j, n - j);
        sum.v += a.v * a.v;
    }
    return sum.total();
}

/// sum_j (x_j - y_j)^2, in double
template <class S>
[[gnu::always_inline]] inline double lane_square_distance(const S* x, const S* y, index n) {
    lanes<double> sum{};
    for (index j = 0; j < n; j += lanes<double>::count) {
        lanes<double> a, b;
        a.load_converted(x + j, n - j);
        b.load_converted(y + j, n - j);
        a.v -= b.v;
        sum.v += a.v * a.v;
    }
    return sum.total();
}

/// y += alpha x
template <class S>
[[gnu::always_inline]] inline void lane_axpy(S alpha, const S* x, S* y, index n) {
    for (index j = 0; j < n; j += lanes<S>::count) {
        lanes<S> a, b;
        a.load(x + j, n - j);
        b.load(y + j, n - j);
        b.v += alpha * a.v;
        b.store(y + j, n - j);
    }
}

}  // namespace subbit
