// Double binary factorization (DBF, arXiv 2505.11076; docs/method.md, section 8): three scales, and three inner ADMM
// steps for each factor in turn.
#pragma once

#include <subbit/core/random.hpp>
#include <subbit/factor/factorization.hpp>
#include <subbit/factor/latent_admm.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace subbit {

/// The settings of dbf_admm; the defaults are the paper's.
template <class S>
struct dbf_admm_options {
    index rank = 0;           ///< 1 to largest_rank(m,n)
    diagonal<S> input = {};   ///< second moments of the inputs (n); empty for ones
    diagonal<S> output = {};  ///< second moments of the output gradients (m); empty for ones
    int iterations = 260;     ///< K outer iterations
    int inner_steps = 3;      ///< ADMM steps for one factor before those for the other
    double reg = 3e-2;        ///< times the mean of the Gram matrix's diagonal, which is 1 for normalized columns
    latent_solve solve = latent_solve::by_backend;
    std::uint64_t seed = 0;                     ///< of the random starts, which are standard normal
    std::optional<refine_options> refine = {};  ///< refits and bit descent at the end; none when not set
    std::string name = "W";                     ///< what messages call the matrix
};

/// rho of the first inner step in outer iteration k of K: min(1, k/(K-3))^3 (docs/method.md, eq. 29). The other inner
/// steps have rho = 1.
inline double dbf_penalty(int k, int iterations) {
    const double x = std::min(1.0, static_cast<double>(k) / std::max(1, iterations - 3));
    return x * x * x;
}

/// Factorizes W (m,n), a host matrix or view, into signs and three scales. Throws like lb_admm.
template <class B, class M, class S = typename decltype(const_view(std::declval<const M&>()))::value_type>
requires backend<B, S> factorization<S> dbf_admm(const B& b, const M& W,
                                                 const std::type_identity_t<dbf_admm_options<S>>& options) {
    if (options.iterations < 1 || options.inner_steps < 1)
        throw value_error(options.name + ": " + std::to_string(options.iterations) + " iterations of " +
                          std::to_string(options.inner_steps) + " steps, expected 1 or more of each");
    const auto target = make_target<B, S>(b, const_view(W), options.input, options.output, options.rank, options.name);
    const auto T = const_view(target.T);
    admm_factor<B, S> left(b, T.rows, options.rank), right(b, T.cols, options.rank);
    latent_solver<B, S> solver(b, std::max(T.rows, T.cols), options.rank, options.solve);
    fill_normal(b, random_stream(options.seed, 0), left.latent);
    fill_normal(b, random_stream(options.seed, 1), right.latent);
    start_from_latent(b, magnitude_form::rank_one, factor_side::left, left);
    start_from_latent(b, magnitude_form::rank_one, factor_side::right, right);

    for (int k = 0; k < options.iterations; ++k) {
        if (k > 0 && k % 10 == 0) solver.choose_steps(b);
        const double first = dbf_penalty(k, options.iterations);
        for (int inner = 0; inner < options.inner_steps; ++inner) {
            solver.set(b, {inner ? 1.0 : first, options.reg});
            solver.update(b, T, right, left);
            auxiliary_update(b, magnitude_form::rank_one, 1, factor_side::left, left);
        }
        for (int inner = 0; inner < options.inner_steps; ++inner) {
            solver.set(b, {inner ? 1.0 : first, options.reg});
            solver.update(b, T.t(), left, right);
            auxiliary_update(b, magnitude_form::rank_one, 1, factor_side::right, right);
        }
    }
    auto result = export_admm(b, target, left, right, scale_form::three, options.refine);
    result.iterations = options.iterations;
    return result;
}

}  // namespace subbit
