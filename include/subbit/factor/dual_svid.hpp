// Dual SVID (LittleBit, arXiv 2506.13771; docs/method.md, eq. 30): a truncated SVD, each half of which is reduced to
// signs times rank-one magnitudes. There is no iteration: it is a fast start, and the baseline of the other solvers.
#pragma once

#include <subbit/factor/factorization.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

namespace subbit {

/// The settings of dual_svid.
template <class S>
struct dual_svid_options {
    index rank = 0;           ///< 1 to min(m,n)
    diagonal<S> input = {};   ///< second moments of the inputs (n); empty for ones
    diagonal<S> output = {};  ///< second moments of the output gradients (m); empty for ones
    scale_form scales = scale_form::three;
    std::optional<refine_options> refine = {};  ///< refits and bit descent at the end; none when not set
    std::string name = "W";                     ///< what messages call the matrix
};

/// Moves the square root of each singular value from left = P diag(s) to right = Q, which has orthonormal columns.
template <class B, class ML, class MR>
void split_evenly(const B& b, ML& left, MR& right) {
    using S = typename decltype(const_view(left))::value_type;
    auto values = allocate<S>(b, const_view(left).cols);
    column_norms(b, left, span_of(values));
    vector<S> roots = download(b, values);
    for (S& x : roots)
        x = std::max(std::sqrt(x), static_cast<S>(1e-12));
    const vector<S> reciprocals = roots.cwiseInverse();
    const auto up = upload(b, const_span(roots));
    const auto down = upload(b, const_span(reciprocals));
    scale(b, left, std::span<const S>(), std::span<const S>(const_span(down)));
    scale(b, right, std::span<const S>(), std::span<const S>(const_span(up)));
}

/// Factorizes W (m,n), a host matrix or view: T ~ P Q' of the given rank, the singular values split evenly, then signs
/// and scales of P and Q. Throws like lb_admm, and for a rank above min(m,n), which an SVD does not have.
///
/// The right singular vectors are eigenvectors of T'T, computed in double; P = T Q up to column scales, so no second
/// decomposition is needed.
template <class B, class M, class S = typename decltype(const_view(std::declval<const M&>()))::value_type>
requires backend<B, S> factorization<S> dual_svid(const B& b, const M& W,
                                                  const std::type_identity_t<dual_svid_options<S>>& options) {
    const auto target = make_target<B, S>(b, const_view(W), options.input, options.output, options.rank, options.name);
    const auto T = const_view(target.T);
    require_rank(options.name, const_view(W), options.rank, T.cols);
    auto gram_matrix = allocate<S>(b, T.cols, T.cols);
    auto vectors = allocate<S>(b, T.cols, T.cols);
    gram(b, T, gram_matrix);
    symmetric_eigenvectors(b, gram_matrix, vectors);

    auto right = copy_of(b, view(vectors).middle_cols(0, options.rank));
    auto left = allocate<S>(b, T.rows, options.rank);
    gemm(b, T, right, left);
    split_evenly(b, left, right);

    const double eta = unweighted_balance(b, target, left, right) * std::sqrt(target.unit);
    real_factors<B, S> real{copy_of(b, left), copy_of(b, right), std::move(left), std::move(right)};
    return export_factorization(b, target, std::move(real), eta, options.scales, options.refine);
}

}  // namespace subbit
