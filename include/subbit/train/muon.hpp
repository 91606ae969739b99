// Muon (Jordan et al. 2024): momentum for matrices, which Newton-Schulz makes orthogonal before the step
// (docs/method.md, eq. 42).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/train/adamw.hpp>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

namespace subbit {

/// Constants of Muon; the defaults are its authors'.
struct muon_options {
    double momentum = 0.95;
    bool nesterov = true;
    int iterations = 5;  ///< of Newton-Schulz
};

/// X (m,n) <- approximately U V' of its singular value decomposition X = U S V': after 5 iterations every singular
/// value is between about 0.7 and 1.2, and a zero stays zero. Newton-Schulz: X <- a X + (b A + c A^2) X with A = X X',
/// a quintic that the authors chose for its steep slope at zero.
template <class B, class MX>
void orthogonalize(const B& b, MX&& X, int iterations = 5) {
    const auto given = view(X);
    using S = typename decltype(given)::value_type;
    const auto x = given.rows <= given.cols ? given : given.t();  // the smaller Gram matrix
    constexpr double a1 = 3.4445, a3 = -4.7750, a5 = 2.0315;
    const double norm = std::sqrt(squared_norm(b, x));
    axpby(b, 1 / std::max(norm, 1e-30), x, 0, x);
    auto gram_matrix = allocate<S>(b, x.rows, x.rows);
    auto polynomial = allocate<S>(b, x.rows, x.rows);
    auto product = allocate<S>(b, given.rows, given.cols);
    const auto p = given.rows <= given.cols ? view(product) : view(product).t();
    for (int k = 0; k < iterations; ++k) {
        gram(b, x.t(), gram_matrix);
        gemm(b, gram_matrix, gram_matrix, polynomial, a5, 0);
        axpby(b, a3, gram_matrix, 1, polynomial);
        gemm(b, polynomial, x, p);
        axpby(b, 1, p, a1, x);
    }
}

/// Muon over a list of matrices, one moment each, in the parameter's scalar type.
///
/// A step moves a matrix by its rate times the orthogonal direction, which is scaled to a root mean square of about
/// one, so a rate has the same meaning as for AdamW. Moments belong to positions, as in adamw; their second halves are
/// empty.
template <class S, class Memory = host_memory>
class muon {
  public:
    explicit muon(muon_options options = {}) : options_(options) {}

    /// One update with rates[i] for parameters[i], all of them matrices.
    template <class B>
    void step(const B& b, std::span<const parameter<S>> parameters, std::span<const double> rates) {
        if (moments_.empty())
            for (const auto& p : parameters)
                moments_.push_back(allocate<S>(b, std::ssize(p.value)));
        require_size("muon: parameters", std::ssize(parameters), std::ssize(moments_));
        require_size("muon: rates", std::ssize(rates), std::ssize(parameters));
        for (std::size_t i = 0; i < parameters.size(); ++i)
            update(b, parameters[i], span_of(moments_[i]), rates[i]);
    }

    template <class B>
    std::vector<moment_pair<S>> moments(const B& b) const {
        std::vector<moment_pair<S>> all;
        for (const auto& m : moments_)
            all.push_back({detail::numbers_of(b, m), {}});
        return all;
    }
    template <class B>
    void restore(const B& b, const std::vector<moment_pair<S>>& moments) {
        moments_.clear();
        for (const auto& m : moments)
            moments_.push_back(upload(b, std::span(m.first)));
    }

  private:
    template <class B>
    void update(const B& b, const parameter<S>& p, std::span<S> moment, double rate) {
        require_size(p.name.c_str(), std::ssize(p.value), std::ssize(moment));
        require_size(p.name.c_str(), std::ssize(p.gradient), std::ssize(p.value));
        if (p.rows < 1) throw shape_error(p.name + " is no matrix, which Muon needs");
        const index cols = std::ssize(p.value) / p.rows;
        const matrix_view<S> m(moment.data(), p.rows, cols), value(p.value.data(), p.rows, cols);
        const matrix_view<const S> gradient(p.gradient.data(), p.rows, cols);
        axpby(b, 1, gradient, options_.momentum, m);
        auto direction = copy_of(b, m);
        if (options_.nesterov) axpby(b, 1, gradient, options_.momentum, direction);
        orthogonalize(b, direction, options_.iterations);
        // min(m,n) singular values of one over m n entries: a root mean square of 1 / sqrt(max(m,n)).
        axpby(b, -rate * std::sqrt(static_cast<double>(std::max(p.rows, cols))), direction, 1, value);
    }

    muon_options options_;
    std::vector<vector_in<S, Memory>> moments_;
};

}  // namespace subbit
