// LB-ADMM, the latent binary ADMM of NanoQuant (arXiv 2602.06694, section 3; docs/method.md, section 5), and an
// improved iteration, which reaches about the same error in a quarter of the steps (docs/numerics.md).
#pragma once

#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/core/random.hpp>
#include <subbit/factor/factorization.hpp>
#include <subbit/factor/latent_admm.hpp>

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace subbit {

/// How the penalty rho grows with x = k/K (docs/method.md, eq. 19).
enum class penalty_schedule { linear, cubic, logistic, exp_decay, exp_growth };

/// rho at x in [0,1].
inline double penalty(penalty_schedule schedule, double x) {
    switch (schedule) {
        case penalty_schedule::cubic:
            return x * x * x;
        case penalty_schedule::logistic:
            return 1 / (1 + std::exp(-5 * (x - 0.5)));
        case penalty_schedule::exp_decay:
            return std::expm1(-5 * x) / std::expm1(-5.0);
        case penalty_schedule::exp_growth:
            return std::expm1(5 * x) / std::expm1(5.0);
        case penalty_schedule::linear:
            break;
    }
    return x;
}

/// The iteration of the authors' code: both latents from the old projections, rank-one magnitudes, a full dual step.
struct paper_iteration {
    static constexpr int usual_iterations = 400;

    penalty_schedule schedule = penalty_schedule::linear;
    double reg = 3e-2;  ///< added to lambda

    admm_penalty penalty_at(double x) const { return {penalty(schedule, x), reg}; }
};

/// The second latent from the new projection, row magnitudes, a leaky dual, and a penalty of its own:
/// rho = rho_start + rho_slope k/K.
struct improved_iteration {
    static constexpr int usual_iterations = 60;

    double rho_start = 0.05;
    double rho_slope = 0.75;
    double lambda_floor = 0.06;  ///< added to lambda
    double leak = 0.95;          ///< the dual keeps this fraction

    admm_penalty penalty_at(double x) const { return {rho_start + rho_slope * x, lambda_floor}; }
};

/// Which iteration LB-ADMM runs, with what only that one has to set.
using admm_iteration = std::variant<improved_iteration, paper_iteration>;

/// The state of the iteration, for the callback (docs/method.md, eq. 20).
struct admm_status {
    int iteration;  ///< number of finished iterations
    double primal;  ///< ||A - Az||_F + ||B - Bz||_F
    double dual;    ///< rho (||Az - Az_old||_F + ||Bz - Bz_old||_F)
    double error;   ///< ||T - (Az / column norms) Bz||_F^2 / ||T||_F^2
};

/// The settings of lb_admm. `.iteration = paper_iteration{}` gives the paper's solver in every detail.
template <class S>
struct lb_admm_options {
    index rank = 0;                      ///< 1 to largest_rank(m,n); see rank_for
    diagonal<S> input = {};              ///< second moments of the inputs (n); empty for ones
    diagonal<S> output = {};             ///< second moments of the output gradients (m); empty for ones
    std::optional<int> iterations = {};  ///< K; not set: 60 improved ones, or the paper's 400
    std::uint64_t seed = 0;              ///< of the random starts, which are standard normal, as large as T's entries
    scale_form scales = scale_form::two;
    admm_iteration iteration = improved_iteration{};
    latent_solve solve = latent_solve::by_backend;

    /// Refits and bit descent at the end; when not set, the paper's iteration has none and the improved one has both.
    std::optional<refine_options> refine = {};

    /// Starts in place of random ones, for diag(sqrt(output)) W diag(sqrt(input)) or, if m < n, for its transpose:
    /// (max(m,n), r) and (r, min(m,n)), in the units of that matrix.
    matrix_view<const S> start_left = {};
    matrix_view<const S> start_right = {};

    std::function<void(const admm_status&)> callback = {};  ///< may throw to stop the work
    int callback_every = 10;                                ///< iterations between two calls
    std::string name = "W";                                 ///< what messages call the matrix
};

/// How many iterations the options ask for.
template <class S>
int iterations_of(const lb_admm_options<S>& options) {
    return options.iterations.value_or(std::visit([](const auto& i) { return i.usual_iterations; }, options.iteration));
}

/// One run of LB-ADMM on a target, step by step; lb_admm() drives it.
template <class B, class S>
class lb_admm_solver {
  public:
    /// Starts from random numbers or the given starts; shape_error or value_error if those do not fit or are not
    /// finite. `target` must outlive the solver.
    lb_admm_solver(const B& backend, const weighted_target<B, S>& target, const lb_admm_options<S>& options)
        : backend_(backend),
          options_(options),
          target_(target),
          left_(backend, view(target.T).rows, options.rank),
          right_(backend, view(target.T).cols, options.rank),
          solver_(backend, view(target.T).rows, options.rank, options.solve) {
        start(left_, options.start_left, 0);
        start(right_, options.start_right.t(), 1);
        start_from_latent(backend_, form(), factor_side::left, left_);
        start_from_latent(backend_, form(), factor_side::right, right_);
    }

    /// Iteration k of K.
    void step(int k) {
        prepare(k);
        if (solver_.steps() == 0) return iterate();  // exact solves cannot be recorded
        if (const int steps = solver_.steps(); std::exchange(recorded_steps_, steps) != steps) iteration_ = {};
        iteration_(backend_, [&] { iterate(); });
    }

    /// The iteration's penalty.
    admm_penalty penalty_at(int k) const {
        const double x = static_cast<double>(k) / iterations_of(options_);
        return std::visit([x](const auto& iteration) { return iteration.penalty_at(x); }, options_.iteration);
    }

    /// Does a step and measures the state after it.
    admm_status monitored_step(int k) {
        const auto left_before = copy_of(backend_, left_.auxiliary);
        const auto right_before = copy_of(backend_, right_.auxiliary);
        prepare(k);
        iterate();
        const auto distance = [&](const auto& x, const auto& y) { return std::sqrt(squared_distance(backend_, x, y)); };
        admm_status status{k + 1, 0, 0, 0};
        status.primal = distance(left_.latent, left_.auxiliary) + distance(right_.latent, right_.auxiliary);
        status.dual =
            penalty_at(k).rho * (distance(left_.auxiliary, left_before) + distance(right_.auxiliary, right_before));
        auto residual = copy_of(backend_, target_.T);
        auto left_basis = copy_of(backend_, left_.auxiliary);
        normalize_columns(backend_, left_.auxiliary, left_basis);
        gemm(backend_, left_basis, view(right_.auxiliary).t(), residual, -1, 1);
        status.error = target_.relative(squared_norm(backend_, residual));
        return status;
    }

    /// Balanced export (docs/method.md, section 6), refined if the options say so.
    factorization<S> finish() {
        const auto refinement = options_.refine || !improved() ? options_.refine : refine_options{};
        return export_admm(backend_, target_, left_, right_, options_.scales, refinement);
    }

  private:
    const improved_iteration* improved() const { return std::get_if<improved_iteration>(&options_.iteration); }
    magnitude_form form() const { return improved() ? magnitude_form::row_means : magnitude_form::rank_one; }

    static constexpr int steps_stay_for = 10;  // iterations

    void prepare(int k) {
        if (k > 0 && k % steps_stay_for == 0) solver_.choose_steps(backend_);
        solver_.set(backend_, penalty_at(k));
    }

    /// One iteration, at the penalty that is set.
    void iterate() {
        const auto T = const_view(target_.T);
        solver_.update(backend_, T, right_, left_);
        if (improved()) project(factor_side::left);
        solver_.update(backend_, T.t(), left_, right_);
        if (!improved()) project(factor_side::left);
        project(factor_side::right);
    }

    void project(factor_side side) {
        auxiliary_update(backend_, form(), improved() ? improved()->leak : 1.0, side,
                         side == factor_side::left ? left_ : right_);
    }

    void start(admm_factor<B, S>& factor, matrix_view<const S> given, std::uint64_t stream) {
        if (given.data == nullptr) return fill_normal(backend_, random_stream(options_.seed, stream), factor.latent);
        const std::string name = options_.name + (stream == 0 ? ": start_left" : ": start_right, transposed,");
        const auto latent = view(factor.latent);
        require_shape(name.c_str(), given.rows, given.cols, latent.rows, latent.cols);
        require_finite(name, given);
        const double unit = target_.unit > 0 ? target_.unit : 1.0;
        axpby(backend_, 1 / unit, upload(backend_, given), 0, factor.latent);
    }

    B backend_;
    lb_admm_options<S> options_;
    const weighted_target<B, S>& target_;
    admm_factor<B, S> left_, right_;
    latent_solver<B, S> solver_;
    repeated_work<B> iteration_;
    int recorded_steps_ = 0;  // of conjugate gradients, in what repeats
};

/// lb_admm() of a view, which subbit::compiled holds.
template <class B, class S>
factorization<S> run_lb_admm(const B& b, matrix_view<const S> W, const lb_admm_options<S>& options) {
    const int iterations = iterations_of(options);
    if (iterations < 1)
        throw value_error(options.name + ": " + std::to_string(iterations) + " iterations, expected 1 or more");
    if (options.callback && options.callback_every < 1)
        throw value_error(options.name + ": a callback every " + std::to_string(options.callback_every) +
                          " iterations, expected 1 or more");
    const auto target = make_target<B, S>(b, W, options.input, options.output, options.rank, options.name);
    lb_admm_solver<B, S> solver(b, target, options);
    for (int k = 0; k < iterations; ++k) {
        if (options.callback && (k + 1) % options.callback_every == 0)
            options.callback(solver.monitored_step(k));
        else
            solver.step(k);
    }
    auto result = solver.finish();
    result.iterations = iterations;
    return result;
}

/// Factorizes W (m,n), a host matrix or view, into signs and scales at the given rank. Throws value_error or
/// shape_error naming options.name for weights or moments that are not finite, negative moments, moments of a wrong
/// length, a rank outside [1, largest_rank(m,n)], or fewer than one iteration.
template <class B, class M, class S = typename decltype(const_view(std::declval<const M&>()))::value_type>
requires backend<B, S> factorization<S> lb_admm(const B& b, const M& W,
                                                const std::type_identity_t<lb_admm_options<S>>& options) {
    return run_lb_admm(b, const_view(W), options);
}

}  // namespace subbit
