// T ~ diag(a) U diag(s) V diag(b) in a backend's memory: the state that refits and bit descent improve.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>

#include <optional>

namespace subbit {

/// One sign factor with its outer scale; n rows, r columns.
template <class B, class S>
struct scaled_signs {
    typename B::template matrix<S> signs;  ///< +1 and -1
    typename B::template vector<S> scale;  ///< one non-negative number per row
};

/// The binary factors of a target T (m,n): left has m rows; right has n, since it is V transposed; mid, if there is
/// one, scales the r components.
template <class B, class S>
struct sign_factors {
    scaled_signs<B, S> left;
    scaled_signs<B, S> right;
    std::optional<typename B::template vector<S>> mid;

    index rank() const { return view(left.signs).cols; }
};

/// X = diag(scale) signs diag(mid), with an empty mid for ones.
template <class B, class S, class MX>
void expand(const B& b, const scaled_signs<B, S>& factor, std::span<const S> mid, MX&& X) {
    axpby(b, 1, factor.signs, 0, X);
    scale(b, X, std::span<const S>(const_span(factor.scale)), mid);
}

/// The middle scales, or an empty span.
template <class B, class S>
std::span<const S> mid_span(const sign_factors<B, S>& factors) {
    return factors.mid ? std::span<const S>(const_span(*factors.mid)) : std::span<const S>();
}

/// ||T - diag(a) U diag(s) V diag(b)||_F^2 / ||T||_F^2, from the residual itself; 0 for T = 0.
template <class B, class S, class MT>
double relative_error(const B& b, const MT& T, const sign_factors<B, S>& factors) {
    const auto t = const_view(T);
    const double total = squared_norm(b, t);
    auto left = allocate<S>(b, t.rows, factors.rank());
    auto right = allocate<S>(b, t.cols, factors.rank());
    auto residual = allocate<S>(b, t.rows, t.cols);
    expand(b, factors.left, mid_span(factors), left);
    expand(b, factors.right, {}, right);
    axpby(b, 1, t, 0, residual);
    gemm(b, left, view(right).t(), residual, -1, 1);
    return total > 0 ? squared_norm(b, residual) / total : 0.0;
}

}  // namespace subbit
