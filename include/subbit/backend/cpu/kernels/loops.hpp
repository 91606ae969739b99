// Loops over rows in fixed chunks, and their sums.
//
// Sums run in 64-byte lanes and then over the lanes, and the chunks' sums are added in order. So a result does not
// depend on the number of threads, nor, except for contraction to FMA, on the instruction set.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace subbit::cpu_kernels {

/// Rows of one chunk: about 16 thousand elements, so that small matrices are not split.
inline index row_grain(index cols) {
    return std::max<index>(4, 16384 / std::max<index>(cols, 1));
}

/// Calls f(Xs...) with the views as they are if all have contiguous rows, and transposed if all have contiguous
/// columns; returns false otherwise.
template <class F, class... V>
bool with_contiguous_rows(F&& f, V... X) {
    if ((X.is_row_major() && ...)) {
        f(X...);
        return true;
    }
    if ((X.t().is_row_major() && ...)) {
        f(X.t()...);
        return true;
    }
    return false;
}

/// sum over chunks of f(begin, end), in the order of the chunks.
template <class B, class F>
double ordered_sum(const B& b, index n, index grain, F&& f) {
    std::vector<double> parts(static_cast<std::size_t>((n + grain - 1) / grain));
    vectorized_for(b, n, grain,
                   [&](index begin, index end) { parts[static_cast<std::size_t>(begin / grain)] = f(begin, end); });
    double sum = 0;
    for (const double part : parts)
        sum += part;
    return sum;
}

struct row_sum_scratch;

/// Sums vectors of `size` over the rows of a matrix: f(begin, end, part) adds rows [begin, end) to its chunk's own
/// part; returns their sum, which is valid until this thread's next call.
template <class S, class B, class F>
std::span<const S> ordered_row_sum(const B& b, index rows, index cols, index size, F&& f) {
    const index grain = row_grain(cols), chunks = std::max<index>(1, (rows + grain - 1) / grain);
    S* const parts = thread_scratch<row_sum_scratch>().template reserve<S>(chunks * size);
    std::fill(parts, parts + chunks * size, S(0));
    vectorized_for(b, rows, grain, [&](index begin, index end) { f(begin, end, parts + begin / grain * size); });
    for (index c = 1; c < chunks; ++c)
        for (index j = 0; j < size; ++j)
            parts[j] += parts[c * size + j];
    return {parts, static_cast<std::size_t>(size)};
}

}  // namespace subbit::cpu_kernels
