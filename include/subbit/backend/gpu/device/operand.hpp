// Turns a strided view into an operand of a dense product that takes only matrices stored by columns, as BLAS does.
#pragma once

#include <subbit/backend/gpu/device/block.hpp>

#include <algorithm>
#include <utility>

namespace subbit::gpu {

/// Throws value_error if a solve has left the size of a singular matrix, and clears it.
inline void require_regular(int& singular) {
    if (singular == 0) return;
    const int n = std::exchange(singular, 0);
    throw value_error("spd_solve: G (" + shape_text(n, n) + ") is singular");
}

/// How a product of floats may round: `fast` as the device's options say (TF32 on request), `full` never below float.
enum class product_precision { fast, full };

/// A matrix stored by columns, `leading` entries from one to the next, or if `transposed` its transpose.
template <class T>
struct operand {
    T* data = nullptr;
    index rows = 0, cols = 0;  ///< after the transpose
    index leading = 1;
    bool transposed = false;

    matrix_view<T> view() const {
        return transposed ? matrix_view<T>(data, rows, cols, leading, 1) : matrix_view<T>(data, rows, cols, 1, leading);
    }
    operand t() const { return {data, cols, rows, leading, !transposed}; }
};

/// True if one of the strides is 1, or the view has only one row or column.
template <class T>
bool is_operand(matrix_view<T> v) {
    return v.row_stride == 1 || v.col_stride == 1 || v.rows <= 1 || v.cols <= 1;
}

/// The operand of a view for which is_operand holds. A single row or column may have any stride: it is read as a matrix
/// of one column, or of one row.
template <class T>
operand<T> as_operand(matrix_view<T> v) {
    const auto at_least = [](index stride, index least) { return std::max<index>({stride, least, 1}); };
    if (v.row_stride == 1) return {v.data, v.rows, v.cols, at_least(v.cols > 1 ? v.col_stride : 0, v.rows), false};
    if (v.col_stride == 1) return {v.data, v.rows, v.cols, at_least(v.rows > 1 ? v.row_stride : 0, v.cols), true};
    if (v.rows <= 1) return {v.data, v.rows, v.cols, at_least(v.col_stride, 1), false};
    return {v.data, v.rows, v.cols, at_least(v.row_stride, 1), true};
}

}  // namespace subbit::gpu
