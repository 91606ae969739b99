// One optimization phase: which parameters move, how fast, for how long. Both reconstructions are made of these.
#pragma once

#include <subbit/core/progress.hpp>
#include <subbit/core/random.hpp>
#include <subbit/recon/linear_layer.hpp>
#include <subbit/train/adamw.hpp>
#include <subbit/train/schedules.hpp>

#include <algorithm>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

namespace subbit {

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
    adamw_options optimizer;
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

/// The order in which epoch `epoch` visits `count` windows: a Fisher-Yates shuffle by the counter-based stream.
inline std::vector<index> visiting_order(std::uint64_t seed, std::size_t epoch, index count) {
    std::vector<index> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), index{0});
    const random_stream stream(seed, 0x6f72646572U + epoch);
    for (std::size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[stream.below(i, static_cast<std::uint32_t>(i))]);
    return order;
}

/// Parameters with their peak rates and the optimizer's state.
template <class S>
class tuner {
  public:
    /// `steps` is the length of the whole schedule.
    tuner(std::vector<parameter<S>> parameters, const phase_options& options, std::size_t steps)
        : parameters_(std::move(parameters)),
          schedule_{1.0, options.final_fraction, steps, options.warmup},
          optimizer_(options.optimizer) {
        for (const auto& p : parameters_)
            peaks_.push_back(options.rate_of(p.kind).for_magnitude(p.mean_magnitude()));
        rates_.resize(peaks_.size());
    }

    /// Moves every parameter along its gradient.
    template <host_backend B>
    void step(const B& b) {
        const double share = schedule_(optimizer_.steps());
        std::transform(peaks_.begin(), peaks_.end(), rates_.begin(), [&](double peak) { return peak * share; });
        optimizer_.step(b, std::span<const parameter<S>>(parameters_), rates_);
    }

    const std::vector<double>& peaks() const { return peaks_; }
    adamw<S>& optimizer() { return optimizer_; }

    /// Peak rates follow the magnitudes at the start of the phase; a resumed phase must be given those back.
    void set_peaks(std::vector<double> peaks) {
        require_size("tuner: peak rates", std::ssize(peaks), std::ssize(peaks_));
        peaks_ = std::move(peaks);
    }

  private:
    std::vector<parameter<S>> parameters_;
    cosine_schedule schedule_;
    adamw<S> optimizer_;
    std::vector<double> peaks_, rates_;
};

}  // namespace subbit
