// One phase of optimization: which parameters move, at which rates, for how long. Both reconstructions consist of
// phases.
#pragma once

#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/core/random.hpp>
#include <subbit/distribute/exchange.hpp>
#include <subbit/recon/linear_layer.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/muon.hpp>
#include <subbit/train/pairwise_sum.hpp>
#include <subbit/train/schedules.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
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
    /// This phase, set for steps of one window, for steps of as many as it has: rates times the root of their number,
    /// and moments that remember as many windows as before (Malladi et al. 2022, square-root scaling;
    /// docs/numerics.md).
    phase_options following_batch() const {
        const auto windows = static_cast<double>(std::max<std::size_t>(batch_windows, 1));
        phase_options p = with_rates_times(std::sqrt(windows));
        p.optimizer.beta1 = std::pow(optimizer.beta1, windows);
        p.optimizer.beta2 = std::pow(optimizer.beta2, windows);
        return p;
    }
    /// The same phase with every rate times a factor.
    phase_options with_rates_times(double factor) const {
        phase_options p = *this;
        for (learning_rate* rate : {&p.weights, &p.latents, &p.scales, &p.biases, &p.norms})
            rate->value *= factor;
        return p;
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

/// What follows where the numbers of a phase stop being finite: it begins again from its last good state with a share
/// of its rates, and after a few times it ends.
struct slow_down {
    static constexpr int times = 3;
    /// The share of the rates after so many restarts, as a number and in words.
    static double share(int restarts) { return std::pow(0.1, restarts); }
    static const char* words(int restarts) {
        constexpr const char* names[] = {"all", "a tenth", "a hundredth", "a thousandth"};
        return names[restarts];
    }
};

/// divergence_error naming the first parameter with a number that is not finite.
template <class B, class S>
void require_finite(const B& b, std::span<const parameter<S>> parameters) {
    for (const auto& p : parameters)
        if (!is_finite(mean_magnitude(b, std::span<const S>(p.value))))
            throw divergence_error("the parameter " + p.name + " is not finite");
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

/// Parameters with their peak rates and the optimizers' state, which the ranks of a job share out: each parameter has
/// an owner, who moves it and sends it to the others. Of latents that only their owner reads, finish_step() sends the
/// signs alone.
template <class S, class Memory = host_memory>
class tuner {
  public:
    using moment_list = std::vector<moment_pair<S>>;

    /// `steps` is the length of the whole schedule. With several ranks every step moves by gathered gradients.
    template <class B>
    tuner(const B& b, std::vector<parameter<S>> parameters, const phase_options& options, std::size_t steps,
          const communicator& ranks = this_process_alone())
        : ranks_(&ranks),
          parameters_(std::move(parameters)),
          schedule_{1.0, options.final_fraction, steps, options.warmup},
          adamw_(options.optimizer) {
        const auto of_muon = [&](const auto& p) { return options.matrices == matrix_optimizer::muon && p.rows > 0; };
        const auto first =
            std::stable_partition(parameters_.begin(), parameters_.end(), [&](const auto& p) { return !of_muon(p); });
        for (const auto& p : parameters_) {
            const auto& rate = options.rate_of(p.kind);
            peaks_.push_back(rate.for_magnitude(rate.relative ? mean_magnitude(b, std::span<const S>(p.value)) : 0));
        }
        choose_owners();
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            if (owners_[i] != ranks.rank()) continue;
            own_.push_back(parameters_[i]);
            if (i < static_cast<std::size_t>(first - parameters_.begin())) ++of_adamw_;
        }
        choose_own_peaks();
    }

    /// Adds the present gradients to a sum for the next step, which uses their mean: term `term` of `terms`, those of
    /// this rank, in order. Can be recorded for each pair of numbers.
    template <class B>
    void gather(const B& b, index term, index terms) {
        sum_.add(b, gradients_, term, terms);
    }

    /// Moves every parameter along its gradient, or along the mean of the `gathered` ones of all ranks.
    template <class B>
    void step(const B& b, index gathered = 0) {
        next_step(b, gathered);
        update(b);
        share(b);
    }

    /// The first part of a step: sums gathered gradients over the ranks, and sets the numbers that differ from the last
    /// step.
    template <class B>
    void next_step(const B& b, index gathered = 0) {
        sum_to_owners(b, *ranks_, gathered, std::span<const owned_numbers<S>>(owned_gradients_), received_);
        gradient_share_ = 1 / static_cast<double>(std::max<index>(gathered, 1));
        const double share = schedule_(adamw_.steps());
        std::transform(own_peaks_.begin(), own_peaks_.end(), rates_.begin(), [&](double peak) { return peak * share; });
        adamw_.next_step(b, share, gradient_share_);
    }
    /// The second part, which is the same in every step and can be recorded if repeats(): moves this rank's parameters.
    template <class B>
    void update(const B& b) {
        const std::span<const parameter<S>> all(own_);
        adamw_.update(b, all.first(of_adamw_), std::span<const double>(own_peaks_).first(of_adamw_));
        if (repeats()) return;
        const S* scaled = nullptr;  // parameters that share a gradient follow each other
        for (const auto& p : all.subspan(of_adamw_))
            if (std::exchange(scaled, p.gradient.data()) != p.gradient.data())
                axpby(b, 0, in_shape(p, p.gradient), gradient_share_, in_shape(p, p.gradient));
        muon_.step(b, all.subspan(of_adamw_), std::span<const double>(rates_).subspan(of_adamw_));
    }
    /// The last part: every rank receives the others' parameters.
    template <class B>
    void share(const B& b) {
        share_values(b);
        share_latents(b);
    }
    /// Both together, then `after`, which packs the latents' signs: recorded as far as possible.
    ///
    /// With several ranks, latents that have signs (parameter::signs) are new on their owner alone: the others get the
    /// signs, after `after`, and the latents by share_latents(). So `after` must do nothing with them but pack them.
    template <class B, class F>
    void finish_step(const B& b, repeated_work<B>& recorded, const F& after) {
        const auto work = [&] {
            update(b);
            if (ranks_->is_alone()) after();
        };
        if (repeats())
            recorded(b, work);
        else
            work();
        if (ranks_->is_alone()) return;
        share_values(b);
        after();
        share_owned(b, *ranks_, std::span<const owned_numbers<std::uint32_t>>(owned_signs_));
    }
    /// Every rank receives the latents of which finish_step() sends the signs.
    template <class B>
    void share_latents(const B& b) {
        share_owned(b, *ranks_, std::span<const owned_numbers<S>>(owned_latents_));
    }
    /// False if Muon moves some parameters, since it waits for norms.
    bool repeats() const { return of_adamw_ == own_.size(); }

    const std::vector<double>& peaks() const { return peaks_; }
    std::span<const parameter<S>> parameters() const { return parameters_; }

    /// The moments of all parameters in the tuner's order, on the host of the rank that leads (elsewhere only its own);
    /// empty before the first step.
    template <class B>
    moment_list moments(const B& b) const {
        moment_list own = adamw_.moments(b);
        auto others = muon_.moments(b);
        std::move(others.begin(), others.end(), std::back_inserter(own));
        if (ranks_->is_alone()) return own;
        moment_list all(parameters_.size());
        auto next = own.begin();
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            if (owners_[i] == ranks_->rank()) all[i] = std::move(*next++);
            if (owners_[i] == 0) continue;
            for (auto* half : {&all[i].first, &all[i].second}) {
                if (owners_[i] == ranks_->rank()) send_all(*ranks_, *half, 0);
                if (ranks_->leads()) receive_all(*ranks_, *half, owners_[i]);
            }
        }
        return all;
    }
    /// Resumes after `steps` steps with the result of moments() of the rank that leads, and with the peak rates of the
    /// phase's start, which depend on the parameters' magnitudes at that time.
    template <class B>
    void restore(const B& b, std::size_t steps, moment_list moments, std::vector<double> peaks) {
        require_size("tuner: moments", std::ssize(moments), std::ssize(parameters_));
        require_size("tuner: peak rates", std::ssize(peaks), std::ssize(peaks_));
        peaks_ = std::move(peaks);
        choose_own_peaks();
        moment_list own;
        for (std::size_t i = 0; i < parameters_.size(); ++i)
            if (owners_[i] == ranks_->rank()) own.push_back(std::move(moments[i]));
        const auto middle = own.begin() + static_cast<std::ptrdiff_t>(of_adamw_);
        muon_.restore(b, {std::make_move_iterator(middle), std::make_move_iterator(own.end())});
        own.erase(middle, own.end());
        adamw_.restore(b, steps, own);
    }

  private:
    template <class B>
    void share_values(const B& b) {
        share_owned(b, *ranks_, std::span<const owned_numbers<S>>(owned_values_));
    }

    /// Gives each gradient an owner, whose parameters are those with this gradient: the paths of a layer may share one.
    void choose_owners() {
        std::vector<std::size_t> gradient_of;
        std::vector<double> costs;
        for (const auto& p : parameters_) {
            const auto known = std::find_if(gradients_.begin(), gradients_.end(), [&](const auto& other) {
                return other.gradient.data() == p.gradient.data();
            });
            gradient_of.push_back(static_cast<std::size_t>(known - gradients_.begin()));
            if (known == gradients_.end()) {
                gradients_.push_back(p);
                costs.push_back(0);
            }
            costs[gradient_of.back()] += static_cast<double>(p.value.size());
        }
        const std::vector<int> owners = owners_by_cost(costs, ranks_->size());
        for (std::size_t g = 0; g < owners.size(); ++g)
            owned_gradients_.push_back({gradients_[g].gradient, owners[g]});
        for (std::size_t i = 0; i < parameters_.size(); ++i) {
            const auto& p = parameters_[i];
            const int owner = owners_.emplace_back(owners[gradient_of[i]]);
            (p.signs.empty() ? owned_values_ : owned_latents_).push_back({p.value, owner});
            if (!p.signs.empty()) owned_signs_.push_back({p.signs, owner});
        }
    }
    void choose_own_peaks() {
        own_peaks_.clear();
        for (std::size_t i = 0; i < parameters_.size(); ++i)
            if (owners_[i] == ranks_->rank()) own_peaks_.push_back(peaks_[i]);
        rates_.resize(own_peaks_.size());
    }

    const communicator* ranks_;
    std::vector<parameter<S>> parameters_;         // AdamW's, then Muon's
    std::vector<int> owners_;                      // of each; the owner moves it
    std::vector<owned_numbers<S>> owned_values_;   // of those without signs
    std::vector<owned_numbers<S>> owned_latents_;  // of the others
    std::vector<owned_numbers<std::uint32_t>> owned_signs_;
    std::vector<parameter<S>> gradients_;            // one of the parameters of each gradient
    std::vector<owned_numbers<S>> owned_gradients_;  // of each of these
    std::vector<parameter<S>> own_;                  // this rank's, in that order
    std::size_t of_adamw_ = 0;                       // of own_
    cosine_schedule schedule_;
    adamw<S, Memory> adamw_;
    muon<S, Memory> muon_;
    std::vector<double> peaks_;              // of all parameters
    std::vector<double> own_peaks_, rates_;  // rates_: of the present step
    pairwise_sum<S, Memory> sum_;
    vector_in<S, Memory> received_;  // another rank's part of a sum
    double gradient_share_ = 1;
};

}  // namespace subbit
