// The two exact block updates that the latent ADMM solvers share: the latent's ridge regression and the projection onto
// signs times magnitudes with its dual.
//
// Both factors of T ~ A X' are kept with one row per row (A) or column (B) of T and one column per rank component, so
// that one function updates either: B's is A's for the transposed target.
#pragma once

#include <subbit/factor/factorization.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace subbit {

/// One factor of the target: n rows, r columns.
template <class B, class S>
struct admm_factor {
    using matrix_type = typename B::template matrix<S>;
    matrix_type latent;     ///< the real-valued factor A
    matrix_type auxiliary;  ///< Az: signs times magnitudes
    matrix_type dual;       ///< Au: the scaled dual variable of A = Az
    matrix_type basis;      ///< Az with columns of unit norm: what the other factor is regressed on

    admm_factor(const B& b, index n, index rank)
        : latent(allocate<S>(b, n, rank)),
          auxiliary(allocate<S>(b, n, rank)),
          dual(allocate<S>(b, n, rank)),
          basis(allocate<S>(b, n, rank)) {}
};

/// The penalty of one step: rho ties the latent to its projection, ridge keeps it small.
struct admm_penalty {
    double rho;
    double ridge;
};

/// The latent's exact minimizer: self.latent = (T X + rho (Az - Au)) (X'X + lambda I)^-1 with X the normalized columns
/// of other.auxiliary (left in other.basis) and lambda = max(rho mean(diag X'X) + ridge, 1e-12). T (n,q) is the target,
/// or its transpose, with self's rows; gram (r,r) is scratch. Strictly convex, so there is one solution (NanoQuant,
/// Lemma 2).
template <class B, class S, class MT, class MG>
void latent_update(const B& b, const MT& T, admm_factor<B, S>& other, admm_factor<B, S>& self, admm_penalty penalty,
                   MG& gram_matrix) {
    normalize_columns(b, other.auxiliary, other.basis);
    gram(b, other.basis, gram_matrix);
    regularize(b, penalty.rho, penalty.ridge, 1e-12, gram_matrix);
    scaled_difference(b, penalty.rho, self.auxiliary, self.dual, self.latent);
    gemm(b, T, other.basis, self.latent, 1, 1);
    spd_solve(b, gram_matrix, self.latent);
}

/// Which way a factor's rank-one magnitudes are iterated: a power iteration that is stopped early depends on the side
/// that it starts from.
enum class factor_side { left, right };

/// The projection and the dual: t = A + Au; Az = P(t); Au = leak (t - Az). The right factor is stored transposed, so
/// its rank-one magnitudes are those of the transposed view; its row means stay row means.
template <class B, class S>
void auxiliary_update(const B& b, magnitude_form form, double leak, factor_side side, admm_factor<B, S>& self) {
    if (form == magnitude_form::rank_one && side == factor_side::right)
        project_dual(b, form, leak, view(self.latent).t(), view(self.dual).t(), view(self.auxiliary).t());
    else
        project_dual(b, form, leak, self.latent, self.dual, self.auxiliary);
}

/// Starts from a given latent: Az = P(A), Au = A - Az.
template <class B, class S>
void start_from_latent(const B& b, magnitude_form form, factor_side side, admm_factor<B, S>& self) {
    axpby(b, 0, self.latent, 0, self.dual);
    auxiliary_update(b, form, 1, side, self);
}

/// Export (nanoquant.md section 4): the balance of Az and Bz outside the weighting, Az with normalized columns as the
/// left factor, and latents that hold the dual. The factors are used up.
template <class B, class S>
factorization<S> export_admm(const B& b, const weighted_target<B, S>& target, admm_factor<B, S>& left,
                             admm_factor<B, S>& right, scale_form form,
                             const std::optional<refine_options>& refinement) {
    const double eta = unweighted_balance(b, target, left.auxiliary, right.auxiliary);
    normalize_columns(b, left.auxiliary, left.basis);
    axpby(b, 1, left.dual, 1, left.latent);
    axpby(b, 1, right.dual, 1, right.latent);
    real_factors<B, S> real{std::move(left.basis), std::move(right.auxiliary), std::move(left.latent),
                            std::move(right.latent)};
    return export_factorization(b, target, std::move(real), eta, form, refinement);
}

}  // namespace subbit
