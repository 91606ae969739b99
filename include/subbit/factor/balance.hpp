// The balance of two factors (nanoquant.md section 4, Proposition 1).
#pragma once

#include <subbit/backend/ops/dense.hpp>

#include <cmath>

namespace subbit {

/// The eta > 0 for which eta A (m,r) and B / eta (n,r or r,n) have the same Frobenius norm, which is where
/// ||eta A||^2 + ||B / eta||^2 is least; 1 where a factor is zero.
template <class B, class MA, class MB>
double balance_ratio(const B& b, const MA& A, const MB& X) {
    const double left = squared_norm(b, A), right = squared_norm(b, X);
    return left > 0 && right > 0 ? std::sqrt(std::sqrt(right / left)) : 1.0;
}

/// A <- eta A, X <- X / eta with eta = balance_ratio, which it returns. Their product stays what it was.
template <class B, class MA, class MB>
double balance(const B& b, MA&& A, MB&& X) {
    const double eta = balance_ratio(b, A, X);
    axpby(b, eta, A, 0, A);
    axpby(b, 1 / eta, X, 0, X);
    return eta;
}

}  // namespace subbit
