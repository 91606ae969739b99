// What each word of a path's bits does to the entries that it belongs to.
#pragma once

#include <subbit/backend/cpu/kernels/loops.hpp>
#include <subbit/bits/bit_view.hpp>

#include <cstdint>

namespace subbit::cpu_kernels {

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

/// The sign of entry j of a word, as a number: a product with it is exact, and has no branch that would keep a loop
/// from being vectorized.
template <class S>
[[gnu::always_inline]] inline S sign_of(std::uint32_t word, index j) {
    return static_cast<S>(static_cast<std::int32_t>(2 * (word >> j & 1U)) - 1);
}

/// w <- w + post signs o pre for the n signs of a word.
template <class S>
[[gnu::always_inline]] inline void add_word(std::uint32_t word, S post, const S* pre, S* w, index n) {
#pragma omp simd
    for (index j = 0; j < n; ++j) {
        const S step = post * pre[j];
        w[j] += sign_of<S>(word, j) * step;
    }
}

/// d_pre <- d_pre + post signs o g, and dots <- dots + signs o g o pre, for the n signs of a word.
template <class S>
[[gnu::always_inline]] inline void gradient_word(std::uint32_t word, const S* g, S post, const S* pre, S* d_pre,
                                                 S* dots, index n) {
#pragma omp simd
    for (index j = 0; j < n; ++j) {
        const S signed_g = sign_of<S>(word, j) * g[j];
        d_pre[j] += post * signed_g;
        dots[j] += pre[j] * signed_g;
    }
}

/// Calls f(word's number, first column, number of columns): whole words with the constant 32, then the rest.
template <class F>
[[gnu::always_inline]] inline void for_words(index cols, F&& f) {
    constexpr index width = bit_layout::tile_cols;
    index g = 0;
    for (; g < cols / width; ++g)
        f(g, width * g, width);
    if (const index tail = cols % width; tail != 0) f(g, width * g, tail);
}

}  // namespace subbit::cpu_kernels
