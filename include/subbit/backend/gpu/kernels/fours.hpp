// Four neighbouring numbers, in one load or store where they lie together and aligned.
#pragma once

#include <subbit/core/kernel.hpp>
#include <subbit/core/matrix.hpp>

#include <cstddef>
#include <cstdint>

namespace subbit::gpu {

template <class T>
struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) four {
    T at[4];
};

template <class T>
SUBBIT_KERNEL bool holds_fours(const T* p) {
    return reinterpret_cast<std::uintptr_t>(p) % alignof(four<T>) == 0;
}

/// Whether every row of Y is whole fours.
template <class T>
SUBBIT_KERNEL bool holds_fours(const matrix_view<T>& Y) {
    constexpr index unit = alignof(four<T>) / sizeof(T);
    return Y.col_stride == 1 && Y.cols % 4 == 0 && Y.row_stride % unit == 0 && holds_fours(Y.data);
}

/// Entries i .. i + 3, a four, of the n that p + first has; `missing` for those that do not exist, and for all where p
/// is null.
template <class T>
SUBBIT_KERNEL four<T> load_four(const T* p, index first, int n, int i, T missing) {
    if (p != nullptr && i + 4 <= n && holds_fours(p + first)) return *reinterpret_cast<const four<T>*>(p + first + i);
    four<T> x;
    for (int k = 0; k < 4; ++k)
        x.at[k] = p != nullptr && i + k < n ? p[first + i + k] : missing;
    return x;
}

}  // namespace subbit::gpu
