// What a layer is applied to: rows of a matrix, or a single token.
#pragma once

#include <subbit/core/matrix.hpp>

#include <concepts>
#include <iterator>
#include <ranges>
#include <type_traits>

namespace subbit::detail {

/// The view of a layer's inputs or outputs, a token in each row: of whatever view() takes; of a column vector of
/// Eigen's, a span or another contiguous range as a single row.
template <class S, class X>
auto view_of_tokens(X& x) {
    const auto v = [&] {
        if constexpr (requires { x.row_stride; }) {
            return x;
        } else if constexpr (requires { X::ColsAtCompileTime; }) {
            if constexpr (X::ColsAtCompileTime == 1)
                return view(x).t();
            else
                return view(x);
        } else {
            static_assert(std::ranges::contiguous_range<X>,
                          "subbit: a layer is applied to matrices, vectors, views of these, or contiguous ranges");
            return matrix_view(std::ranges::data(x), 1, std::ranges::ssize(x));
        }
    }();
    static_assert(std::same_as<typename decltype(v)::value_type, S>,
                  "subbit: a layer's inputs and outputs have the scalar type of its scales");
    return v;
}

/// Makes an owner large enough for the outputs of so many tokens; leaves alone what has a fixed size.
template <class Y>
void fit_outputs(Y& y, index tokens, index rows) {
    if constexpr (std::derived_from<Y, Eigen::PlainObjectBase<Y>>)
        Y::ColsAtCompileTime == 1 ? y.resize(tokens * rows, 1) : y.resize(tokens, rows);
    else if constexpr (!std::derived_from<Y, Eigen::DenseBase<Y>> && requires { y.resize(std::size_t{}); })
        y.resize(static_cast<std::size_t>(tokens * rows));
}

}  // namespace subbit::detail
