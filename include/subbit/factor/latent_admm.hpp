// The two updates that the ADMM solvers share: the latent's ridge regression (docs/method.md, eq. 16), and the
// projection onto signs times magnitudes with its dual (eq. 18).
//
// Both factors of T ~ A B' have one row for each row (A) or column (B) of T and one column for each rank component, so
// one function updates either: B is updated like A, for the transposed target.
#pragma once

#include <subbit/factor/conjugate_gradients.hpp>
#include <subbit/factor/factorization.hpp>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

namespace subbit {

/// One factor of the target: n rows, r columns.
template <class B, class S>
struct admm_factor {
    using matrix_type = typename B::template matrix<S>;
    matrix_type latent;     ///< the real-valued factor A
    matrix_type auxiliary;  ///< Az: signs times magnitudes
    matrix_type dual;       ///< Au: the scaled dual variable of A = Az

    admm_factor(const B& b, index n, index rank)
        : latent(allocate<S>(b, n, rank)), auxiliary(allocate<S>(b, n, rank)), dual(allocate<S>(b, n, rank)) {}
};

/// The penalty of one step: rho pulls the latent to its projection, ridge keeps it small (docs/method.md, eq. 17).
struct admm_penalty {
    double rho;
    double ridge;
};

/// How the latents' systems are solved: exactly, by Cholesky; by a few steps of conjugate gradients from the last
/// latent, as many as pay off; or by whichever is faster on the backend.
enum class latent_solve { by_backend, exact, conjugate_gradients };

/// What the latents' updates share: the penalty, which is in the backend's memory, so that a recorded update reads the
/// present one; how systems are solved; and buffers for factors of up to `rows` rows.
template <class B, class S>
class latent_solver {
  public:
    latent_solver(const B& b, index rows, index rank, latent_solve how)
        : by_products_(how == latent_solve::conjugate_gradients ||
                       (how == latent_solve::by_backend && solves_by_products<B>)),
          penalty_(allocate<double>(b, 2)),
          gram_(allocate<S>(b, rank, rank)),
          basis_(by_products_ ? allocate<S>(b, rank, rows) : allocate<S>(b, rows, rank)) {
        if (!by_products_) return;
        steps_ = first_steps;
        right_side_ = allocate<S>(b, rows, rank);
        gradients_.emplace(b, rows, rank);
    }

    void set(const B& b, admm_penalty penalty) {
        fill(b, penalty.rho, as_column(span_of(penalty_).first(1)));
        fill(b, penalty.ridge, as_column(span_of(penalty_).last(1)));
    }

    /// Steps of conjugate gradients for a system; 0 if it is solved exactly.
    int steps() const { return steps_; }

    /// Adapts the number of steps to the last step's gain since the last call, relative to the average step
    /// (docs/numerics.md): more, fewer, or, if many are not enough, exact solves from now on. Waits for the backend.
    void choose_steps(const B& b) {
        if (steps_ == 0) return;
        const double gain = gradients_->last_share(b) * steps_;
        if (gain < small_gain)
            steps_ = std::max(steps_ - (gain < small_gain / 4 ? 2 : 1), least_steps);
        else if (!(gain <= large_gain) && ++steps_ > most_steps)
            steps_ = 0;
    }

    /// The latent's minimizer (docs/method.md, eq. 16 and 17): self.latent = (T X + rho (Az - Au)) (X'X + lambda I)^-1,
    /// where X has the columns of other.auxiliary at unit norm. T (n,q) is the target, or its transpose, with self's
    /// rows. The problem is strictly convex, so there is one solution (NanoQuant, Lemma 2).
    template <class MT>
    void update(const B& b, const MT& T, const admm_factor<B, S>& other, admm_factor<B, S>& self) {
        const auto latent = view(self.latent);
        const auto X = basis(view(other.auxiliary).rows);
        const auto right_side = steps_ > 0 ? view(right_side_).middle_rows(0, latent.rows) : latent;
        normalize_columns(b, other.auxiliary, X);
        scaled_difference(b, rho(), self.auxiliary, self.dual, right_side);
        gemm(b, T, X, right_side, 1, 1);
        if (steps_ > 0) {
            rounded_gram(b, X, gram_);
            regularize(b, const_span(penalty_), 1e-12, gram_);
            gradients_->solve(b, steps_, gram_, right_side, latent);
        } else {
            gram(b, X, gram_);
            regularize(b, const_span(penalty_), 1e-12, gram_);
            spd_solve(b, gram_, latent);
        }
    }

  private:
    static constexpr int first_steps = 8, least_steps = 2, most_steps = 12;
    static constexpr double small_gain = 0.03, large_gain = 0.3;

    /// Memory for a basis of n rows. For products it is stored by columns: then the sums of X'X run along the memory of
    /// both operands, and those of T X along at least one. TF32 products of sm_90 need that (wgmma can transpose only
    /// 16-bit operands).
    matrix_view<S> basis(index n) {
        return by_products_ ? view(basis_).middle_cols(0, n).t() : view(basis_).middle_rows(0, n);
    }
    std::span<const double> rho() const { return const_span(penalty_).first(1); }

    bool by_products_;
    typename B::template vector<double> penalty_;
    typename B::template matrix<S> gram_, basis_, right_side_;
    std::optional<conjugate_gradients<B, S>> gradients_;
    int steps_ = 0;
};

/// The side of a factor: a power iteration that is stopped early depends on the side from which it starts.
enum class factor_side { left, right };

/// The projection and the dual (docs/method.md, eq. 18 and 23): t = A + Au; Az = P(t); Au = leak (t - Az). The right
/// factor is stored transposed, so its rank-one magnitudes are taken of the transposed view, and its row means as it
/// is.
template <class B, class S>
void auxiliary_update(const B& b, magnitude_form form, double leak, factor_side side, admm_factor<B, S>& self) {
    if (form == magnitude_form::rank_one && side == factor_side::right)
        project_dual(b, form, leak, view(self.latent).t(), view(self.dual).t(), view(self.auxiliary).t());
    else
        project_dual(b, form, leak, self.latent, self.dual, self.auxiliary);
}

/// Starts from a given latent (docs/method.md, eq. 15): Az = P(A), Au = A - Az.
template <class B, class S>
void start_from_latent(const B& b, magnitude_form form, factor_side side, admm_factor<B, S>& self) {
    axpby(b, 0, self.latent, 0, self.dual);
    auxiliary_update(b, form, 1, side, self);
}

/// Export (docs/method.md, eq. 24 and 25): the balance of Az and Bz after the weighting is removed, Az with normalized
/// columns as the left factor, and latents that include the dual. The factors are overwritten.
template <class B, class S>
factorization<S> export_admm(const B& b, const weighted_target<B, S>& target, admm_factor<B, S>& left,
                             admm_factor<B, S>& right, scale_form form,
                             const std::optional<refine_options>& refinement) {
    const double eta = unweighted_balance(b, target, left.auxiliary, right.auxiliary);
    auto normalized = allocate<S>(b, view(left.auxiliary).rows, view(left.auxiliary).cols);
    normalize_columns(b, left.auxiliary, normalized);
    axpby(b, target.unit, left.dual, target.unit, left.latent);  // the left factor has unit columns, the latent T's
    axpby(b, 1, right.dual, 1, right.latent);
    real_factors<B, S> real{std::move(normalized), std::move(right.auxiliary), std::move(left.latent),
                            std::move(right.latent)};
    return export_factorization(b, target, std::move(real), eta, form, refinement);
}

}  // namespace subbit
