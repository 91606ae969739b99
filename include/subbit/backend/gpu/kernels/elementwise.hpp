// Entry by entry: one kernel, and for each operation what it does to entry (i,j).
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/core/random.hpp>
#include <subbit/core/types.hpp>

#include <cstdint>
#include <type_traits>

namespace subbit {

namespace gpu {

/// Calls f(i, j) for every entry of a rows x cols matrix, neighbours in a row on neighbouring threads. Overlaps where f
/// says so, which then writes no weights.
template <class F>
struct entries {
    static constexpr bool overlaps = gpu::overlaps<F>;

    index rows, cols;
    F f;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        if constexpr (overlaps) wait_for_predecessor(block);
        // By reference: a copy of f may be an array in local memory.
        for_each_entry(block, rows, cols, [&](index i, index j) { f(i, j); });
    }
};

/// What for_entries turns: views; numbers stay, and so do their addresses.
template <class T>
matrix_view<T> turned(matrix_view<T> v) {
    return v.t();
}

template <class T>
requires(std::is_arithmetic_v<T> || std::is_pointer_v<T>) T turned(T x) {
    return x;
}

/// The factors of a matrix's rows and columns; null stands for ones.
template <class S>
struct factors {
    const S* left;
    const S* right;

    SUBBIT_KERNEL S at(index i, index j) const {
        return (left != nullptr ? left[i] : S(1)) * (right != nullptr ? right[j] : S(1));
    }
};

template <class S>
factors<S> turned(factors<S> f) {
    return {f.right, f.left};
}

/// Launches f(i, j) over all entries of `out`, an F made of the views, which are all transposed where `out` is stored
/// by columns, so that neighbouring threads write to neighbouring addresses.
template <class F, class B, class Out, class... Views>
void for_entries(const B& b, Out out, Views... rest) {
    if (out.size() == 0) return;
    if (out.row_stride < out.col_stride)
        b.launch(cover(out.size()), entries<F>{out.cols, out.rows, F{out.t(), turned(rest)...}});
    else
        b.launch(cover(out.size()), entries<F>{out.rows, out.cols, F{out, rest...}});
}

/// Launches f over all entries of a matrix whose rows are contiguous.
template <class F, class B>
void for_row_entries(const B& b, index rows, index cols, const F& f) {
    if (rows * cols > 0) b.launch(cover(rows * cols), entries<F>{rows, cols, f});
}

template <class S>
struct scale_entry {
    matrix_view<S> X;
    factors<S> by;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) *= by.at(i, j); }
};

template <class S>
struct axpby_entry {
    matrix_view<S> Y;
    matrix_view<const S> X;
    S alpha, beta;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        Y(i, j) = beta == S(0) ? alpha * X(i, j) : alpha * X(i, j) + beta * Y(i, j);
    }
};

template <class S>
struct difference_entry {
    matrix_view<S> R;
    matrix_view<const S> X, Y;
    const double* alpha;

    SUBBIT_KERNEL void operator()(index i, index j) const { R(i, j) = static_cast<S>(*alpha) * (X(i, j) - Y(i, j)); }
};

template <class S>
struct hadamard_entry {
    matrix_view<S> Y;
    matrix_view<const S> X;

    SUBBIT_KERNEL void operator()(index i, index j) const { Y(i, j) *= X(i, j); }
};

template <class S>
struct copy_sign_entry {
    matrix_view<S> X;
    matrix_view<const S> source;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        const S magnitude = X(i, j) < S(0) ? -X(i, j) : X(i, j);
        X(i, j) = sign(source(i, j)) * magnitude;
    }
};

template <class S>
struct sign_entry {
    matrix_view<S> X;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = sign(X(i, j)); }
};

template <class S>
struct diagonal_entry {
    matrix_view<S> G;
    S lambda;

    SUBBIT_KERNEL void operator()(index /*zero*/, index i) const { G(i, i) += lambda; }
};

template <class S>
struct normal_entry {
    matrix_view<S> X;
    random_stream stream;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        X(i, j) = static_cast<S>(stream.normal(static_cast<std::uint64_t>(i * X.cols + j)));
    }
};

template <class S>
struct set_entry {
    matrix_view<S> X;
    S value;

    SUBBIT_KERNEL void operator()(index i, index j) const { X(i, j) = value; }
};

/// A few numbers that travel with the launch: nobody waits until they are copied.
template <class T>
struct store_numbers {
    static constexpr index most = 2048 / sizeof(T);

    T numbers[most];
    index count;
    T* to;

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_thread(block, count, [&](index i) { to[i] = numbers[i]; });
    }
};

}  // namespace gpu

}  // namespace subbit
