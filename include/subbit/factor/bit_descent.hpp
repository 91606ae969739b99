// Exact coordinate descent over the bits of both factors (docs/method.md, eq. 34): every step is an exact minimization,
// so the error never rises, and at the end no single flip lowers it by much.
#pragma once

#include <subbit/factor/scale_fit.hpp>

namespace subbit {

/// When bit descent stops.
struct descent_options {
    int max_rounds = 50;      ///< rounds over both factors
    double tolerance = 1e-5;  ///< stop when a round lowers the error by no more than this fraction
};

/// The result of bit descent.
struct descent_result {
    int rounds = 0;
    index flips = 0;
    double explained = 0;  ///< ||T||^2 - ||residual||^2 at the end
};

/// One sweep over self's bits, all rows at once, and the exact refit of its scales. Returns the number of flips and the
/// explained energy.
template <class B, class S, class MT>
descent_result descend_factor(const B& b, const MT& T, const scaled_signs<B, S>& other, std::span<const S> mid,
                              scaled_signs<B, S>& self, fit_workspace<B, S>& work) {
    const index rows = const_view(T).rows;
    prepare_half_step(b, T, other, mid, self, work);
    const index flips = descend_bits(b, work.linear(rows), work.quadratic(), std::span<const S>(const_span(self.scale)),
                                     self.signs, work.field(rows));
    return {1, flips, fit_row_scales(b, work.linear(rows), self.signs, work.field(rows), span_of(self.scale))};
}

/// Rounds of descent over the left bits, then the right bits, and in the three-scale form a refit of the middle scales.
/// `total` is ||T||^2. Fit the scales before the first round.
template <class B, class S, class MT>
descent_result descend(const B& b, const MT& T, double total, sign_factors<B, S>& factors,
                       const descent_options& options, fit_workspace<B, S>& work) {
    const auto t = const_view(T);
    descent_result result;
    while (result.rounds < options.max_rounds) {
        const auto left = descend_factor(b, t, factors.right, mid_span(factors), factors.left, work);
        const auto right = descend_factor(b, t.t(), factors.left, mid_span(factors), factors.right, work);
        if (factors.mid) fit_mid_scale(b, t, factors, work);
        const double error = total - right.explained, before = total - result.explained;
        result = {result.rounds + 1, result.flips + left.flips + right.flips, right.explained};
        if (before - error <= options.tolerance * before) break;
    }
    return result;
}

}  // namespace subbit
