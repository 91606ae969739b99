// What a solver returns, and how it is made of real factors: refinement, balance, scales, orientation.
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/factor/balance.hpp>
#include <subbit/factor/bit_descent.hpp>
#include <subbit/factor/target.hpp>

#include <optional>
#include <utility>

namespace subbit {

/// W (m,n) ~ diag(s_post) sign(U) [diag(s_mid)] sign(V) diag(s_pre), on the host.
template <class S>
struct factorization {
    matrix<S> U;         ///< (m,r) real factor; its signs are the bits
    matrix<S> V;         ///< (r,n) real factor; its signs are the bits
    matrix<S> U_latent;  ///< (m,r) the start of straight-through tuning
    matrix<S> V_latent;  ///< (r,n)
    vector<S> s_post;    ///< (m)
    vector<S> s_pre;     ///< (n)
    vector<S> s_mid;     ///< (r), or empty in the two-scale form
    double error = 0;    ///< ||D(W - What)E||^2 / ||D W E||^2 (docs/method.md, eq. 12)
    int iterations = 0;  ///< of the solver
    index flips = 0;     ///< bits that the descent changed

    index rank() const { return U.cols(); }

    /// Packed bits and scales, without a bias.
    low_rank_binary_linear<S> pack() const {
        return {bit_matrix::pack(U), bit_matrix::pack(V), s_post, s_pre, s_mid, {}};
    }
};

/// How many scales the representation has.
enum class scale_form {
    two,    ///< s_post, s_pre (NanoQuant)
    three,  ///< and s_mid between the factors (DBF, LittleBit)
};

/// Refits and bit descent after a solver, in this order.
struct refine_options {
    int refit_rounds = 3;
    std::optional<descent_options> descent = descent_options{};
};

/// The real factors of a target with which a solver ended, in the target's orientation: T ~ left right'.
template <class B, class S>
struct real_factors {
    using matrix_type = typename B::template matrix<S>;
    matrix_type left, right;                // (m,r), (n,r)
    matrix_type left_latent, right_latent;  // likewise
};

/// The signs of X, and as scale of each row its mean magnitude (docs/method.md, eq. 26).
template <class B, class S, class M>
scaled_signs<B, S> row_mean_signs(const B& b, const M& X) {
    scaled_signs<B, S> result{copy_of(b, X), allocate<S>(b, const_view(X).rows)};
    abs_row_means(b, X, span_of(result.scale));
    take_signs(b, result.signs);
    return result;
}

/// Signs and scales of T ~ left right': row means of the magnitudes; or with three scales the rank-one factors of the
/// magnitudes, whose inner halves are multiplied to the middle scale (docs/method.md, eq. 27).
template <class B, class S, class M>
sign_factors<B, S> signs_and_scales(const B& b, scale_form form, const M& left, const M& right) {
    sign_factors<B, S> f{row_mean_signs<B, S>(b, left), row_mean_signs<B, S>(b, right), {}};
    if (form == scale_form::two) return f;
    f.mid = allocate<S>(b, f.rank());
    auto inner = allocate<S>(b, f.rank());
    rank1_magnitude(b, left, span_of(f.left.scale), span_of(*f.mid));
    rank1_magnitude(b, right, span_of(f.right.scale), span_of(inner));
    hadamard(b, as_column(span_of(inner)), as_column(span_of(*f.mid)));
    return f;
}

/// Refits the scales and descends over the bits; the error never rises. Returns the number of bits flipped.
template <class B, class S>
index refine(const B& b, const weighted_target<B, S>& target, sign_factors<B, S>& factors,
             const refine_options& options) {
    const auto t = const_view(target.T);
    fit_workspace<B, S> work(b, t.rows, t.cols, factors.rank());
    fit_scales(b, t, factors, options.refit_rounds, work);
    return options.descent ? descend(b, t, target.squared_norm, factors, *options.descent, work).flips : 0;
}

/// The balance of left and right, factors of the weighted target, after the weighting is removed (docs/method.md,
/// eq. 24).
template <class B, class S, class M>
double unweighted_balance(const B& b, const weighted_target<B, S>& target, const M& left, const M& right) {
    auto left_free = copy_of(b, left), right_free = copy_of(b, right);
    unweight_rows(b, target, 1, left_free);
    unweight_cols(b, target, 1, right_free);
    return balance_ratio(b, left_free, right_free);
}

/// Export of a solver's real factors (docs/method.md, section 6): takes signs and scales, refines them on request,
/// scales everything to eta left and unit right / eta, and brings it to the host in W's orientation. After a refinement
/// the latents have the refined signs. The factors are overwritten. Throws value_error naming the matrix if the result
/// is not finite.
template <class B, class S>
factorization<S> export_factorization(const B& b, const weighted_target<B, S>& target, real_factors<B, S> real,
                                      double eta, scale_form form, const std::optional<refine_options>& refinement) {
    // Checked before the refinement, which would turn NaN into scales of zero.
    require_finite_result<B, S>(target, squared_norm(b, real.left) + squared_norm(b, real.right), {});
    auto factors = signs_and_scales<B, S>(b, form, real.left, real.right);
    factorization<S> result;
    if (refinement) {
        result.flips = refine(b, target, factors, *refinement);
        copy_signs(b, factors.left.signs, real.left);
        copy_signs(b, factors.right.signs, real.right);
        copy_signs(b, factors.left.signs, real.left_latent);
        copy_signs(b, factors.right.signs, real.right_latent);
    }
    const bool zero = target.unit == 0;
    result.error = zero ? 0.0 : relative_error(b, target.T, factors);
    unweight_rows(b, target, zero ? 0.0 : eta, real.left, real.left_latent, as_column(span_of(factors.left.scale)));
    unweight_cols(b, target, zero ? 0.0 : target.unit / eta, real.right, real.right_latent,
                  as_column(span_of(factors.right.scale)));

    if (target.transposed) {
        std::swap(real.left, real.right);
        std::swap(real.left_latent, real.right_latent);
        std::swap(factors.left, factors.right);
    }
    result.U = download(b, real.left);
    result.V = download(b, view(real.right).t());
    result.U_latent = download(b, real.left_latent);
    result.V_latent = download(b, view(real.right_latent).t());
    result.s_post = download(b, factors.left.scale);
    result.s_pre = download(b, factors.right.scale);
    if (factors.mid) result.s_mid = download(b, *factors.mid);
    require_finite_result<B, S>(target, result.error, {&result.s_post, &result.s_pre, &result.s_mid});
    return result;
}

}  // namespace subbit
