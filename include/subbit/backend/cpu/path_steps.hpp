// Residual binarization's own operations (path_operations.hpp) on the cpu backend.
#pragma once

#include <subbit/backend/cpu/elementwise.hpp>
#include <subbit/backend/cpu/packed_product.hpp>
#include <subbit/backend/path_operations.hpp>

#include <algorithm>
#include <concepts>
#include <cstdint>

namespace subbit {

namespace detail {

/// The signs of n numbers as a word, and r <- r - post sign(r) o pre; a loop that is vectorized where n is a constant.
template <class S>
[[gnu::always_inline]] inline std::uint32_t peel_word(S* r, S post, const S* pre, index n) {
    std::uint32_t word = 0;
    for (index j = 0; j < n; ++j) {
        const bool plus = r[j] >= S(0);
        const S step = post * pre[j];
        word |= static_cast<std::uint32_t>(plus) << j;
        r[j] -= plus ? step : -step;
    }
    return word;
}

}  // namespace detail

template <class B, class S>
bit_matrix do_peel_signs(cpu_tag, const B& b, matrix_view<S> R, std::span<const S> post, std::span<const S> pre) {
    if (!R.is_row_major()) return do_peel_signs(reference_tag{}, b, R, post, pre);
    constexpr index word = bit_layout::tile_cols;
    bit_matrix signs(R.rows, R.cols);
    vectorized_for(b, R.rows, detail::row_grain(R.cols), [&](index begin, index end) {
        for (index i = begin; i < end; ++i) {
            const S scale = post[static_cast<std::size_t>(i)];
            S* r = R.row(i);
            index g = 0;
            for (; g < R.cols / word; ++g)
                signs.set_word(i, g, detail::peel_word(r + word * g, scale, pre.data() + word * g, word));
            if (const index tail = R.cols % word; tail != 0)
                signs.set_word(i, g, detail::peel_word(r + word * g, scale, pre.data() + word * g, tail));
        }
    });
    return signs;
}

/// path_product for B (k,n) or, where it is not `transposed`, its transpose.
template <class B, class S>
bool fused_path_product(const B& b, matrix_view<const S> X, std::span<const S> in, bit_view bits, bool transposed,
                        std::span<const S> out, matrix_view<S> raw, bool add, matrix_view<S> Y) {
    bool done = false;
    with_packed_kernel<S>(b, packed_precision::exact, [&](auto arch, auto kernel) {
        done = raw.is_row_major() && Y.is_row_major() && !packed_unpacks<decltype(kernel)>(X.rows);
        if (!done) return;
        packed_product<decltype(kernel)>(arch, b.exec(), packed_operand<S>{bits, transposed, X, in.data()},
                                         [&](index t, index first, const S* sums, index count) {
                                             std::copy_n(sums, count, raw.row(t) + first);
                                             if (Y.size() == 0) return;
                                             S* y = Y.row(t) + first;
                                             const S* scale = out.data() + first;
                                             for (index i = 0; i < count; ++i)
                                                 y[i] = add ? y[i] + scale[i] * sums[i] : scale[i] * sums[i];
                                         });
    });
    return done;
}

template <class B, std::floating_point S>
void do_path_product(cpu_tag, const B& b, matrix_view<const S> X, std::span<const S> in, transposed_bit_view signs,
                     std::span<const S> out, matrix_view<S> raw, bool add, matrix_view<S> Y) {
    if (!fused_path_product(b, X, in, signs.t(), false, out, raw, add, Y))
        do_path_product(reference_tag{}, b, X, in, signs, out, raw, add, Y);
}

template <class B, std::floating_point S>
void do_path_product(cpu_tag, const B& b, matrix_view<const S> X, std::span<const S> in, bit_view signs,
                     std::span<const S> out, matrix_view<S> raw, bool add, matrix_view<S> Y) {
    if (!fused_path_product(b, X, in, signs, true, out, raw, add, Y))
        do_path_product(reference_tag{}, b, X, in, signs, out, raw, add, Y);
}

}  // namespace subbit
