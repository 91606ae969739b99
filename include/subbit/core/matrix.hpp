// Dense storage, and the view type that every operation takes.
//
// Owners are Eigen's, row-major; a `matrix_view` is a trivially copyable pointer with two strides, so that a transpose,
// a block of rows and a slice of a memory-mapped file cost nothing, on every backend.
#pragma once

#include <subbit/core/alignment.hpp>
#include <subbit/core/error.hpp>

#include <Eigen/Core>
#include <cstddef>
#include <span>
#include <type_traits>

namespace subbit {

using index = std::ptrdiff_t;

/// A dense row-major matrix on the host.
template <class Scalar>
using matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A dense column vector on the host.
template <class Scalar>
using vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A strided view of a rows x cols matrix that it does not own; `T` is const for input. Element (i,j) is
/// data[i*row_stride + j*col_stride].
template <class T>
struct matrix_view {
    using value_type = std::remove_const_t<T>;

    T* data = nullptr;
    index rows = 0;
    index cols = 0;
    index row_stride = 0;
    index col_stride = 1;

    constexpr matrix_view() = default;
    constexpr matrix_view(T* d, index r, index c) : data(d), rows(r), cols(c), row_stride(c) {}
    constexpr matrix_view(T* d, index r, index c, index rs, index cs = 1)
        : data(d), rows(r), cols(c), row_stride(rs), col_stride(cs) {}

    constexpr operator matrix_view<const T>() const requires(!std::is_const_v<T>) {
        return {data, rows, cols, row_stride, col_stride};
    }

    constexpr T& operator()(index i, index j) const { return data[i * row_stride + j * col_stride]; }
    /// A pointer to row i; null where the data is null, as that of a matrix without entries may be.
    constexpr T* row(index i) const { return address(i, 0); }
    constexpr index size() const { return rows * cols; }
    constexpr bool is_row_major() const { return col_stride == 1; }
    constexpr bool is_contiguous() const { return col_stride == 1 && (row_stride == cols || rows <= 1); }

    /// The transpose: the same data with exchanged strides.
    constexpr matrix_view t() const { return {data, cols, rows, col_stride, row_stride}; }
    constexpr matrix_view block(index i, index j, index r, index c) const {
        return {address(i, j), r, c, row_stride, col_stride};
    }
    constexpr matrix_view middle_rows(index i, index r) const { return block(i, 0, r, cols); }
    constexpr matrix_view middle_cols(index j, index c) const { return block(0, j, rows, c); }

  private:
    // No offset is defined from a null pointer but zero.
    constexpr T* address(index i, index j) const {
        return data == nullptr ? nullptr : data + i * row_stride + j * col_stride;
    }
};

template <class T>
constexpr matrix_view<T> view(matrix_view<T> v) {
    return v;
}

namespace detail {

/// Whether an object of Eigen's has its entries in memory: a matrix, a vector, a Map or Ref, a block, a row or the
/// transpose of these, but no expression that is still to be computed.
template <class Derived>
inline constexpr bool in_memory = (Derived::Flags & Eigen::DirectAccessBit) != 0;

template <class Derived, class T>
matrix_view<T> strided_view(const Eigen::DenseBase<Derived>& m, T* data) {
    const index inner = m.innerStride(), outer = m.outerStride();
    return {data, m.rows(), m.cols(), Derived::IsRowMajor ? outer : inner, Derived::IsRowMajor ? inner : outer};
}

}  // namespace detail

/// The view of an Eigen matrix, vector, Map, Ref, block or row, of any strides.
template <class Derived>
matrix_view<const typename Derived::Scalar> view(const Eigen::DenseBase<Derived>& m) {
    static_assert(detail::in_memory<Derived>,
                  "subbit: this expression of Eigen's is not in memory; assign it to a matrix first, or use .eval()");
    if constexpr (detail::in_memory<Derived>) {
        const typename Derived::Scalar* data = m.derived().data();
        return detail::strided_view(m, data);
    } else {
        return {};
    }
}
template <class Derived>
auto view(Eigen::DenseBase<Derived>& m) {
    if constexpr (detail::in_memory<Derived>)
        return detail::strided_view(m, m.derived().data());
    else
        return view(static_cast<const Eigen::DenseBase<Derived>&>(m));
}

/// A view of any strides as an Eigen map, for the reference backend, tests and glue.
template <class T>
auto as_eigen(matrix_view<T> v) {
    using Scalar = std::remove_const_t<T>;
    using Plain = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using Target = std::conditional_t<std::is_const_v<T>, const Plain, Plain>;
    using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    return Eigen::Map<Target, 0, Strides>(v.data, v.rows, v.cols, Strides(v.row_stride, v.col_stride));
}

/// The entries of a vector as a span.
template <class Scalar>
std::span<const Scalar> span_of(const vector<Scalar>& v) {
    return {v.data(), static_cast<std::size_t>(v.size())};
}
template <class Scalar>
std::span<Scalar> span_of(vector<Scalar>& v) {
    return {v.data(), static_cast<std::size_t>(v.size())};
}

/// The entries of a vector as a read-only span.
template <class V>
auto const_span(const V& v) {
    return span_of(v);
}

}  // namespace subbit
