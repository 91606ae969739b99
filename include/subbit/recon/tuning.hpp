// One phase of optimization: which parameters move, at which rates, for how long. Both reconstructions consist of
// phases.
#pragma once

#include <subbit/core/progress.hpp>
#include <subbit/core/random.hpp>
#include <subbit/recon/linear_layer.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/muon.hpp>
#include <subbit/train/schedules.hpp>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

namespace subbit {

/// The optimizer of the matrices in a phase; that of vectors is always AdamW.
enum class matrix_optimizer { adamw, muon };

/// The settings of a phase. A rate of zero freezes that kind of parameter.
struct phase_options {
    std::size_t epochs = 8;
    std::size_t batch_windows = 1;
    learning_rate weights{0, false};
    learning_rate latents{0, false};
    learning_rate scales{0, false};
    learning_rate biases{0, false};
    learning_rate norms{0, false};
    double final_fraction = 0;  ///< of the peak rate, at the end of the cosine
    std::size_t warmup = 0;     ///< steps
    adamw_options optimizer = {};
    matrix_optimizer matrices = matrix_optimizer::adamw;
    std::uint64_t seed = 0;  ///< of the order in which windows are visited

    trainable what() const {
        return {.weights = weights.value > 0,
                .latents = latents.value > 0,
                .scales = scales.value > 0,
                .biases = biases.value > 0,
                .norms = norms.value > 0};
    }
    const learning_rate& rate_of(parameter_kind kind) const {
        switch (kind) {
            case parameter_kind::weight:
                return weights;
            case parameter_kind::latent:
                return latents;
            case parameter_kind::scale:
                return scales;
            case parameter_kind::bias:
                return biases;
            case parameter_kind::norm:
                break;
        }
        return norms;
    }
};

/// The order of `count` windows in epoch `epoch`: a Fisher-Yates shuffle by the counter-based random numbers.
inline std::vector<index> visiting_order(std::uint64_t seed, std::size_t epoch, index count) {
    std::vector<index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), index{0});
    const random_stream stream(seed, 0x6f72646572U + epoch);
    for (std::size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[stream.below(i, static_cast<std::uint32_t>(i))]);
    return order;
}

/// Steps between two reads of a sum in the backend's memory: on the host a read costs nothing, on a device it waits.
template <backend B>
inline constexpr std::size_t steps_unseen = host_backend<B> ? 1 : 16;

/// The kinds of parameters that a list has.
template <class S>
trainable kinds_of(std::span<const parameter<S>> parameters) {
    const auto has = [&](parameter_kind kind) {
        return std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return p.kind == kind; });
    };
    return {.weights = has(parameter_kind::weight),
            .latents = has(parameter_kind::latent),
            .scales = has(parameter_kind::scale),
            .biases = has(parameter_kind::bias),
            .norms = has(parameter_kind::norm)};
}

/// Parameters with their peak rates and the optimizers' state.
template <class S, class Memory = host_memory>
class tuner {
  public:
    using moment_list = std::vector<moment_pair<S>>;

    /// `steps` is the length of the whole schedule.
    template <class B>
    tuner(const B& b, std::vector<parameter<S>> parameters, const phase_options& options, std::size_t steps)
        : parameters_(std::move(parameters)),
          schedule_{1.0, options.final_fraction, steps, options.warmup},
          adamw_(options.optimizer) {
        const auto of_muon = [&](const auto& p) { return options.matrices == matrix_optimizer::muon && p.rows > 0; };
        const auto first =
            std::stable_partition(parameters_.begin(), parameters_.end(), [&](const auto& p) { return !of_muon(p); });
        of_adamw_ = static_cast<std::size_t>(first - parameters_.begin());
        for (const auto& p : parameters_) {
            const auto& rate = options.rate_of(p.kind);
            peaks_.push_back(rate.for_magnitude(rate.relative ? mean_magnitude(b, std::span<const S>(p.value)) : 0));
        }
        rates_.resize(peaks_.size());
    }

    /// Adds the present gradients to a sum for the next step, which uses their mean. Can be recorded.
    template <class B>
    void gather(const B& b) {
        if (sums_.empty())
            for (const auto& p : parameters_) {
                sums_.push_back(allocate<S>(b, std::ssize(p.gradient)));
                gathered_.push_back(p);
                gathered_.back().gradient = span_of(sums_.back());
            }
        for (std::size_t i = 0; i < parameters_.size(); ++i)
            axpby(b, 1, as_matrix(parameters_[i], parameters_[i].gradient), 1,
                  as_matrix(parameters_[i], gathered_[i].gradient));
    }

    /// Moves every parameter along its gradient, or along the mean of the `gathered` ones.
    template <class B>
    void step(const B& b, std::size_t gathered = 0) {
        next_step(b, gathered);
        update(b);
    }

    /// The first half of a step: sets the numbers that differ from the last step.
    template <class B>
    void next_step(const B& b, std::size_t gathered = 0) {
        takes_gathered_ = gathered > 0;
        gradient_share_ = 1 / static_cast<double>(std::max<std::size_t>(gathered, 1));
        const double share = schedule_(adamw_.steps());
        std::transform(peaks_.begin(), peaks_.end(), rates_.begin(), [&](double peak) { return peak * share; });
        adamw_.next_step(b, share, gradient_share_);
    }
    /// The second half, which can be recorded if repeats(): it is the same in every step with gathered gradients, and
    /// in every step without.
    template <class B>
    void update(const B& b) {
        const std::span<const parameter<S>> all(takes_gathered_ ? gathered_ : parameters_);
        const std::span<const double> peaks(peaks_), rates(rates_);
        adamw_.update(b, all.first(of_adamw_), peaks.first(of_adamw_), takes_gathered_);
        if (repeats()) return;
        for (std::size_t i = of_adamw_; i < parameters_.size() && takes_gathered_; ++i) {
            const auto sum = as_matrix(gathered_[i], gathered_[i].gradient);
            axpby(b, gradient_share_, sum, 0, as_matrix(parameters_[i], parameters_[i].gradient));
            fill(b, 0, sum);
        }
        muon_.step(b, std::span<const parameter<S>>(parameters_).subspan(of_adamw_), rates.subspan(of_adamw_));
    }
    /// False if Muon moves some parameters, since it waits for norms.
    bool repeats() const { return of_adamw_ == parameters_.size(); }

    const std::vector<double>& peaks() const { return peaks_; }

    /// The moments of all parameters in the tuner's order, on the host; empty before the first step.
    template <class B>
    moment_list moments(const B& b) const {
        moment_list all = adamw_.moments(b);
        auto others = muon_.moments(b);
        std::move(others.begin(), others.end(), std::back_inserter(all));
        return all;
    }
    /// Resumes after `steps` steps with the result of moments(), and with the peak rates of the phase's start, which
    /// depend on the parameters' magnitudes at that time.
    template <class B>
    void restore(const B& b, std::size_t steps, moment_list moments, std::vector<double> peaks) {
        require_size("tuner: moments", std::ssize(moments), std::ssize(parameters_));
        require_size("tuner: peak rates", std::ssize(peaks), std::ssize(peaks_));
        peaks_ = std::move(peaks);
        const auto middle = moments.begin() + static_cast<std::ptrdiff_t>(of_adamw_);
        muon_.restore(b, {std::make_move_iterator(middle), std::make_move_iterator(moments.end())});
        moments.erase(middle, moments.end());
        adamw_.restore(b, steps, moments);
    }

  private:
    /// A parameter's values, gradient or sum in the shape of the parameter; a vector is one row.
    static matrix_view<S> as_matrix(const parameter<S>& p, std::span<S> numbers) {
        const index rows = std::max<index>(p.rows, 1);
        return {numbers.data(), rows, std::ssize(numbers) / rows};
    }

    std::vector<parameter<S>> parameters_;  // AdamW's, then Muon's
    std::size_t of_adamw_ = 0;
    cosine_schedule schedule_;
    adamw<S, Memory> adamw_;
    muon<S, Memory> muon_;
    std::vector<double> peaks_, rates_;  // rates_: of the present step
    std::vector<vector_in<S, Memory>> sums_;
    std::vector<parameter<S>> gathered_;  // the parameters with sums_ for gradients
    bool takes_gathered_ = false;
    double gradient_share_ = 1;
};

}  // namespace subbit
