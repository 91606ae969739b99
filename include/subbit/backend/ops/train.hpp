// The operations of optimizers, estimators and losses.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/kernel.hpp>
#include <subbit/core/math.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace subbit {

/// The surrogate derivative of sign(x) in the backward pass (docs/method.md, eq. 37): NanoQuant uses identity,
/// LittleBit the other two.
enum class straight_through {
    identity,  ///< 1
    clipped,   ///< 1 for |x| < 1, else 0
    smooth,    ///< SmoothSign: 100 (1 - tanh^2(100 x)), the derivative of tanh(100 x)
};

/// Turns the gradient with respect to sign(latent) into that of the latent, in place; both are contiguous and of the
/// same shape.
template <class B, class S>
void apply_straight_through(const B& b, straight_through kind, matrix_view<const S> latent, matrix_view<S> gradient) {
    if (kind == straight_through::identity) return;
    require_shape("apply_straight_through: gradient", gradient.rows, gradient.cols, latent.rows, latent.cols);
    do_apply_straight_through(typename B::tag{}, b, kind, latent, gradient);
}

/// The mean of |x|, accumulated in double; 0 for no numbers.
template <class B, class S>
double mean_magnitude(const B& b, std::span<const S> values) {
    return values.empty() ? 0.0 : do_sum_magnitudes(typename B::tag{}, b, values) / static_cast<double>(values.size());
}

/// Moves every entry away from zero by `share` of the entries' mean magnitude (docs/method.md, eq. 45); signs do not
/// change, and zeros become positive, as sign(0) = +1.
template <class B, class S>
void widen_margin(const B& b, std::span<S> latent, double share) {
    const double mean = mean_magnitude(b, std::span<const S>(latent));
    do_widen_margin(typename B::tag{}, b, latent, static_cast<S>(share * mean));
}

/// Constants of AdamW; the defaults are those of NanoQuant's reconstruction (docs/method.md, section 12).
struct adamw_options {
    double beta1 = 0.9;
    double beta2 = 0.99;
    double epsilon = 1e-6;
    double weight_decay = 0;
};

/// A parameter of AdamW: arrays of one size in the backend's memory.
template <class S>
struct adamw_slot {
    S* gradient = nullptr;
    S* first = nullptr;   ///< moment
    S* second = nullptr;  ///< moment
    S* value = nullptr;
    index size = 0;
    double rate = 0;  ///< before it is multiplied by the step's share
};

/// The numbers of AdamW that differ from step to step. They are in the backend's memory, so that a recorded step can be
/// replayed.
struct adamw_step {
    double rate_share = 1;      ///< of every parameter's rate
    double correction = 1;      ///< 1 - beta1^t
    double root = 1;            ///< 1 / sqrt(1 - beta2^t)
    double gradient_share = 1;  ///< factor of the gradient: one over the number of gradients in its sum

    static constexpr std::size_t count = 4;
    std::array<double, count> numbers() const { return {rate_share, correction, root, gradient_share}; }
    SUBBIT_KERNEL static adamw_step from(const double* numbers) {
        return {numbers[0], numbers[1], numbers[2], numbers[3]};
    }
};

/// The factors in the update of one parameter.
template <class S>
struct adamw_factors {
    S beta1, beta2;
    S step_size;  ///< rate / (1 - beta1^t)
    S root;       ///< 1 / sqrt(1 - beta2^t)
    S epsilon;
    S keep;            ///< 1 - rate * weight decay
    S gradient_share;  ///< of the gradient

    SUBBIT_KERNEL adamw_factors(const adamw_options& o, const adamw_step& now, double peak_rate)
        : beta1(static_cast<S>(o.beta1)),
          beta2(static_cast<S>(o.beta2)),
          step_size(static_cast<S>(peak_rate * now.rate_share / now.correction)),
          root(static_cast<S>(now.root)),
          epsilon(static_cast<S>(o.epsilon)),
          keep(static_cast<S>(1 - peak_rate * now.rate_share * o.weight_decay)),
          gradient_share(static_cast<S>(now.gradient_share)) {}
};

/// m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; x <- keep x - step_size m / (sqrt(v) root + epsilon),
/// for the moments m and v, gradient g and values x of every slot (docs/method.md, eq. 40). `step` has the numbers of
/// an adamw_step.
template <class B, class S>
void adamw_update(const B& b, const adamw_options& options, std::span<const adamw_slot<S>> slots,
                  std::span<const double> step) {
    require_size("adamw_update: step", std::ssize(step), index{adamw_step::count});
    do_adamw_update(typename B::tag{}, b, options, slots, step);
}

/// total[0] += factor * sum of the numbers, in their order on the host; `total` is one number of the backend's memory.
template <class B>
void add_to_total(const B& b, std::span<const double> numbers, double factor, std::span<double> total) {
    require_size("add_to_total: total", std::ssize(total), 1);
    do_add_to_total(typename B::tag{}, b, numbers, factor, total);
}

/// Adds sum_{t,c} importance_c (Y - Y*)^2 to total[0], a number of the backend's memory, and writes its gradient 2
/// importance o (Y - Y*) (docs/method.md, eq. 36).
///
/// Y, target, gradient: (tokens, channels); importance: channels, or empty for ones. Accumulates in double per token
/// row, rows in order.
template <class B, class S>
void weighted_squared_error(const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                            std::span<const S> importance, matrix_view<S> gradient, std::span<double> total) {
    require_shape("weighted_squared_error: target", target.rows, target.cols, Y.rows, Y.cols);
    require_shape("weighted_squared_error: gradient", gradient.rows, gradient.cols, Y.rows, Y.cols);
    if (!importance.empty()) require_size("weighted_squared_error: importance", std::ssize(importance), Y.cols);
    require_size("weighted_squared_error: total", std::ssize(total), 1);
    do_weighted_squared_error(typename B::tag{}, b, Y, target, importance, gradient, total);
}

/// sum_{t,c} importance_c X^2, which waits for the backend; importance as above.
template <class B, class S>
double weighted_square(const B& b, matrix_view<const S> X, std::span<const S> importance) {
    if (!importance.empty()) require_size("weighted_square: importance", std::ssize(importance), X.cols);
    return do_weighted_square(typename B::tag{}, b, X, importance);
}

/// Adds `weight` times the mean over tokens of |y - y*|^2 / |y*|^2 to total[0], a number of the backend's memory, so
/// that every token counts the same whatever the size of its hidden state; the gradient is added to d_Y. Y, target,
/// d_Y: (tokens, channels), rows contiguous. Accumulates in double per token, tokens in order (docs/method.md, eq. 44).
template <class B, class S>
void relative_squared_error(const B& b, matrix_view<const S> Y, matrix_view<const S> target, double weight,
                            matrix_view<S> d_Y, std::span<double> total) {
    require_shape("relative_squared_error: target", target.rows, target.cols, Y.rows, Y.cols);
    require_shape("relative_squared_error: d_Y", d_Y.rows, d_Y.cols, Y.rows, Y.cols);
    require_size("relative_squared_error: total", std::ssize(total), 1);
    const double per_token = weight / static_cast<double>(std::max<index>(1, Y.rows));
    do_relative_squared_error(typename B::tag{}, b, Y, target, per_token, d_Y, total);
}

/// losses[t] = the negative log-likelihood of labels[t] under softmax(logits(t,:)), 0 for a label below 0. With
/// `gradient`, each row of the logits (T, vocabulary), rows contiguous, becomes `weight` times the loss's gradient.
template <class B, class S>
void cross_entropy_rows(const B& b, matrix_view<S> logits, std::span<const std::int32_t> labels, double weight,
                        bool gradient, std::span<double> losses) {
    require_size("cross_entropy_rows: labels", std::ssize(labels), logits.rows);
    require_size("cross_entropy_rows: losses", std::ssize(losses), logits.rows);
    do_cross_entropy_rows(typename B::tag{}, b, logits, labels, static_cast<S>(weight), gradient, losses);
}

/// The tokens that follow in the text, beside what a teacher expects: ids[t] follows token t, and what lies beyond the
/// end has none. `share` of a token's loss is the negative log-likelihood of its label (docs/method.md, eq. 43).
struct hard_labels {
    std::span<const std::int32_t> ids = {};  ///< below the vocabulary's size, in the backend's memory
    double share = 0;

    /// Those of the tokens from `first` on.
    hard_labels from(index first) const {
        return {ids.subspan(std::min(static_cast<std::size_t>(first), ids.size())), share};
    }
};

/// losses[t] = KL(softmax(teacher(t,:)) || softmax(student(t,:))), of which `labels` replace a share; each row of the
/// student's logits (T, vocabulary), rows contiguous, becomes `weight` times the loss's gradient.
template <class B, class S>
void forward_kl_rows(const B& b, matrix_view<const S> teacher, matrix_view<S> student, const hard_labels& labels,
                     double weight, std::span<double> losses) {
    require_shape("forward_kl_rows: student", student.rows, student.cols, teacher.rows, teacher.cols);
    require_size("forward_kl_rows: losses", std::ssize(losses), teacher.rows);
    do_forward_kl_rows(typename B::tag{}, b, teacher, student, labels, static_cast<S>(weight), losses);
}

/// The surrogate derivative of sign at the latent x.
template <class Scalar>
Scalar straight_through_derivative(straight_through kind, Scalar x) {
    switch (kind) {
        case straight_through::clipped:
            return std::abs(x) < Scalar(1) ? Scalar(1) : Scalar(0);
        case straight_through::smooth: {
            const Scalar t = std::tanh(Scalar(100) * x);
            return Scalar(100) * (Scalar(1) - t * t);
        }
        case straight_through::identity:
            break;
    }
    return Scalar(1);
}

/// log sum exp of n > 0 logits: runs of 256 in the scalar type, joined in double.
template <class S>
double log_sum_exp(const S* logits, index n) {
    const S top = largest_of(n, [&](index i) { return logits[i]; });
    double total = 0;
    constexpr index run = 256;  // short runs sum in the scalar type, so that the loop vectorizes, and join in double
    for (index start = 0; start < n; start += run) {
        const index stop = std::min(n, start + run);
        S partial = 0;
#pragma omp simd reduction(+ : partial)
        for (index i = start; i < stop; ++i)
            partial += fast_exp(logits[i] - top);
        total += static_cast<double>(partial);
    }
    return static_cast<double>(top) + std::log(total);
}

namespace detail {

/// The sum of numbers, in their order.
inline double sum_in_order(std::span<const double> numbers) {
    double sum = 0;
    for (const double x : numbers)
        sum += x;
    return sum;
}

}  // namespace detail

}  // namespace subbit
