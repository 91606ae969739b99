// The balance of two factors (docs/method.md, eq. 24; NanoQuant, Proposition 1).
#pragma once

#include <subbit/backend/ops/dense.hpp>

#include <cmath>

namespace subbit {

/// The eta > 0 for which eta A (m,r) and X / eta (n,r or r,n) have the same Frobenius norm, which is also where
/// ||eta A||^2 + ||X / eta||^2 is smallest; 1 if a factor is zero.
template <class B, class MA, class MB>
double balance_ratio(const B& b, const MA& A, const MB& X) {
    const double left = squared_norm(b, A), right = squared_norm(b, X);
    return left > 0 && right > 0 ? std::sqrt(std::sqrt(right / left)) : 1.0;
}

/// A <- eta A, X <- X / eta with eta = balance_ratio, which it returns. The product of the two does not change.
template <class B, class MA, class MB>
double balance(const B& b, MA&& A, MB&& X) {
    const double eta = balance_ratio(b, A, X);
    axpby(b, eta, A, 0, A);
    axpby(b, 1 / eta, X, 0, X);
    return eta;
}

}  // namespace subbit
