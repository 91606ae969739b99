// Sixteen floats or eight doubles side by side, in the compilers' vector extension: a sum over lanes has one order on
// every instruction set, and needs no -ffast-math to be vectorized.
//
// The 64 bytes are parts of a register each: compilers keep a vector that is wider than a register in memory. Where
// nobody says how wide a register is, AVX-512 runs on half registers, which costs little if the numbers come from
// memory.
#pragma once

#include <subbit/backend/cpu/isa.hpp>
#include <subbit/core/half.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace subbit {

namespace detail {

inline constexpr index common_register = SUBBIT_ARM ? 16 : 32;  // bytes

/// `Bytes` of numbers, as two halves down to a register. Whatever `n` counts are the numbers from here on, maybe none.
template <class S, index Bytes, index Register>
struct lane_part {
    static constexpr index count = Bytes / static_cast<index>(sizeof(S)), half = count / 2;
    lane_part<S, Bytes / 2, Register> low, high;

    [[gnu::always_inline]] void load(const S* p) {
        low.load(p);
        high.load(p + half);
    }
    [[gnu::always_inline]] void load_first(const S* p, index n) {
        low.load_first(p, n);
        high.load_first(n > half ? p + half : p, n - half);
    }
    template <class T>
    [[gnu::always_inline]] void load_converted(const T* p) {
        low.load_converted(p);
        high.load_converted(p + half);
    }
    template <class T>
    [[gnu::always_inline]] void load_first_converted(const T* p, index n) {
        low.load_first_converted(p, n);
        high.load_first_converted(n > half ? p + half : p, n - half);
    }
    [[gnu::always_inline]] void store(S* p) const {
        low.store(p);
        high.store(p + half);
    }
    [[gnu::always_inline]] void store_first(S* p, index n) const {
        low.store_first(p, n);
        if (n > half) high.store_first(p + half, n - half);
    }
    [[gnu::always_inline]] void add(const lane_part& x) {
        low.add(x.low);
        high.add(x.high);
    }
    [[gnu::always_inline]] void subtract(const lane_part& x) {
        low.subtract(x.low);
        high.subtract(x.high);
    }
    [[gnu::always_inline]] void multiply(const lane_part& x) {
        low.multiply(x.low);
        high.multiply(x.high);
    }
    [[gnu::always_inline]] void multiply(S x) {
        low.multiply(x);
        high.multiply(x);
    }
    [[gnu::always_inline]] void add_product(const lane_part& x, const lane_part& y) {
        low.add_product(x.low, y.low);
        high.add_product(x.high, y.high);
    }
    [[gnu::always_inline]] void add_product(S x, const lane_part& y) {
        low.add_product(x, y.low);
        high.add_product(x, y.high);
    }
    [[gnu::always_inline]] void make_absolute() {
        low.make_absolute();
        high.make_absolute();
    }
    [[gnu::always_inline]] bool any_negative() const {
        const bool first = low.any_negative(), second = high.any_negative();
        return first || second;
    }
    [[gnu::always_inline]] double total(double before) const { return high.total(low.total(before)); }
};

/// A register.
template <class S, index Register>
struct lane_part<S, Register, Register> {
    static constexpr index count = Register / static_cast<index>(sizeof(S));
    typedef S pack __attribute__((vector_size(Register)));
    pack v;

    [[gnu::always_inline]] void load(const S* p) { std::memcpy(&v, p, Register); }
    [[gnu::always_inline]] void load_first(const S* p, index n) {
        v = pack{};
        std::memcpy(&v, p, bytes_of<S>(n));
    }
    template <class T>
    [[gnu::always_inline]] void load_converted(const T* p) {
        vector_of<T> x;
        std::memcpy(&x, p, sizeof(x));
        v = __builtin_convertvector(x, pack);
    }
    /// A bfloat16 is the upper half of a float.
    [[gnu::always_inline]] void load_converted(const bf16* p) {
        vector_of<std::uint16_t> x;
        std::memcpy(&x, p, sizeof(x));
        const auto wide = __builtin_convertvector(x, vector_of<std::uint32_t>) << 16;
        vector_of<float> numbers;
        std::memcpy(&numbers, &wide, sizeof(numbers));
        v = __builtin_convertvector(numbers, pack);
    }
    template <class T>
    [[gnu::always_inline]] void load_first_converted(const T* p, index n) {
        T x[count] = {};
        std::memcpy(x, p, bytes_of<T>(n));
        load_converted(x);
    }
    [[gnu::always_inline]] void store(S* p) const { std::memcpy(p, &v, Register); }
    [[gnu::always_inline]] void store_first(S* p, index n) const { std::memcpy(p, &v, bytes_of<S>(n)); }
    [[gnu::always_inline]] void add(const lane_part& x) { v += x.v; }
    [[gnu::always_inline]] void subtract(const lane_part& x) { v -= x.v; }
    [[gnu::always_inline]] void multiply(const lane_part& x) { v *= x.v; }
    [[gnu::always_inline]] void multiply(S x) { v *= x; }
    [[gnu::always_inline]] void add_product(const lane_part& x, const lane_part& y) { v += x.v * y.v; }
    [[gnu::always_inline]] void add_product(S x, const lane_part& y) { v += x * y.v; }
    [[gnu::always_inline]] void make_absolute() { v = v < 0 ? -v : v; }
    [[gnu::always_inline]] bool any_negative() const {
        const auto negative = v < 0;
        std::uint64_t words[Register / 8], any = 0;
        std::memcpy(words, &negative, Register);
        for (const std::uint64_t word : words)
            any |= word;
        return any != 0;
    }
    [[gnu::always_inline]] double total(double before) const {
        for (index l = 0; l < count; ++l)
            before += static_cast<double>(v[l]);
        return before;
    }

  private:
    template <class T>
    struct vector_type {
        typedef T type __attribute__((vector_size(count * sizeof(T))));
    };
    template <class T>
    using vector_of = typename vector_type<T>::type;

    template <class T>
    static std::size_t bytes_of(index n) {
        return static_cast<std::size_t>(std::clamp<index>(n, 0, count)) * sizeof(T);
    }
};

}  // namespace detail

/// 64 bytes of S in registers of `Register` bytes, on which no result depends. It is never passed by value: without AVX
/// that would have another calling convention.
template <class S, index Register = detail::common_register>
struct lanes : detail::lane_part<S, 64, Register> {
    using part = detail::lane_part<S, 64, Register>;
    using part::count;
    using part::load;
    using part::store;
    using part::total;

    /// The first min(n, count) numbers at p; the other lanes are zero.
    [[gnu::always_inline]] void load(const S* p, index n) {
        if (n >= count)
            part::load(p);
        else
            part::load_first(p, n);
    }
    /// The same of numbers of another type, bf16 among them.
    template <class T>
    [[gnu::always_inline]] void load_converted(const T* p, index n) {
        if (n >= count)
            part::load_converted(p);
        else
            part::load_first_converted(p, n);
    }
    [[gnu::always_inline]] void store(S* p, index n) const {
        if (n >= count)
            part::store(p);
        else
            part::store_first(p, n);
    }
    /// The sum over the lanes, in order.
    [[gnu::always_inline]] double total() const { return part::total(0); }
};

/// sum_j x_j y_j
template <class S>
[[gnu::always_inline]] inline double lane_dot(const S* x, const S* y, index n) {
    lanes<S> sum{};
    for (index j = 0; j < n; j += lanes<S>::count) {
        lanes<S> a, b;
        a.load(x + j, n - j);
        b.load(y + j, n - j);
        sum.add_product(a, b);
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
        a.make_absolute();
        sum.add_product(a, b);
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
        a.make_absolute();
        sum.add(a);
    }
    return sum.total();
}

/// sum_j x_j, in double
template <class S>
[[gnu::always_inline]] inline double lane_sum(const S* x, index n) {
    lanes<double> sum{};
    for (index j = 0; j < n; j += lanes<double>::count) {
        lanes<double> a;
        a.load_converted(x + j, n - j);
        sum.add(a);
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
        sum.add_product(a, a);
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
        a.subtract(b);
        sum.add_product(a, a);
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
        b.add_product(alpha, a);
        b.store(y + j, n - j);
    }
}

/// Calls f(std::integral_constant<index, G>, at) for runs of G <= Most that cover [0, count), as even as can be: a
/// short run at the end would leave the processor waiting for its own additions.
template <index Most, class F>
[[gnu::always_inline]] inline void for_even_runs(index count, F&& f) {
    const index runs = (count + Most - 1) / Most;
    for (index r = 0, at = 0; r < runs; ++r) {
        const index end = count * (r + 1) / runs;
        [&]<index... G>(std::integer_sequence<index, G...>) {
            ((end - at == G + 1 ? f(std::integral_constant<index, G + 1>{}, at) : void()), ...);
        }
        (std::make_integer_sequence<index, Most>{});
        at = end;
    }
}

}  // namespace subbit
