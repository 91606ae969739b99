// Ridge regressions with many right-hand sides, by matrix products: conjugate gradients for all rows side by side
// (docs/method.md, eq. 28).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/solver.hpp>

#include <span>

namespace subbit {

/// Solves X G = R for symmetric positive definite G (k,k) and X, R (n,k). Every step minimizes 1/2 x'Gx - r'x exactly
/// along a direction, so after any number of steps X is nearer to the solution (in the norm of G): an incomplete solve
/// is a descent step. The buffers, for n <= rows, are allocated once.
template <class B, class S>
class conjugate_gradients {
  public:
    conjugate_gradients(const B& b, index rows, index rank)
        : product_(allocate<S>(b, rows, rank)),
          direction_(allocate<S>(b, rows, rank)),
          energy_(allocate<S>(b, rows)),
          gained_(allocate<S>(b, rows)),
          last_(allocate<S>(b, rows)) {}

    /// Takes `steps` steps from the given X; R is overwritten.
    template <class MG, class MR, class MX>
    void solve(const B& b, int steps, const MG& G, MR&& R, MX&& X) {
        const auto r = view(R);
        const auto x = view(X);
        const auto product = view(product_).middle_rows(0, x.rows), direction = view(direction_).middle_rows(0, x.rows);
        const auto of_rows = [&](auto& v) { return span_of(v).first(static_cast<std::size_t>(x.rows)); };
        const descent_rows<S> rows{of_rows(energy_), of_rows(gained_), of_rows(last_)};
        const auto g = const_view(G).t();  // the same G, stored so that the sums of both operands run along memory
        gemm(b, x, g, product);
        start_descent(b, product, r, rows);
        for (int step = 0; step < steps; ++step) {
            const descent_place place{step == 0, step + 1 == steps};
            gemm(b, place.first ? r : direction, g, product);
            descend_step(b, place, product, direction, r, x, rows);
        }
    }

    /// The share of the last steps in the gain of all solves since the last call. A further step would gain about as
    /// much, so if this is far below the share of an average step, there were enough steps. NaN if nothing was solved,
    /// or if the numbers were not finite. Waits for the backend.
    double last_share(const B& b) {
        const auto sum_and_clear = [&](auto& v) {
            const double sum = download(b, v).template cast<double>().sum();
            fill(b, 0, as_column(span_of(v)));
            return sum;
        };
        const double all = sum_and_clear(gained_);
        return sum_and_clear(last_) / all;
    }

  private:
    typename B::template matrix<S> product_, direction_;
    typename B::template vector<S> energy_, gained_, last_;
};

}  // namespace subbit
