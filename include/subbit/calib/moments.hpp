// Second moments of activations and gradients, robust against single loud tokens (nanoquant.md section 2).
#pragma once

#include <subbit/backend/factor_operations.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace subbit {

/// How loud tokens are clipped.
enum class clipping {
    online,     ///< one pass; the bound is the running maximum, and what was accumulated is rescaled when it grows
    two_phase,  ///< a first pass over all batches (observe) finds the bound, a second one (add_batch) accumulates
    plain,      ///< no clipping (DBF)
};

/// Settings of clipped_moments.
struct moment_options {
    clipping mode = clipping::online;
    percentile keep =
        percentile{0.999};             ///< the k-th largest norm of a batch of T is its bound, k = max(1, T (1 - keep))
    double scale = 1;                  ///< the moments are multiplied by it (the paper: 1e6 for gradients)
    std::string name = "activations";  ///< what messages call them
};

/// Accumulates mean_t (c_t x_t)^2 per channel over batches of tokens, with c_t = min(1, tau / ||x_t||): after clipping
/// no token moves the result of a batch by more than tau^2 / T (NanoQuant, Lemma 1). Sums are kept in double.
template <class S>
class clipped_moments {
  public:
    /// Throws value_error for a percentile outside (0,1], a scale that is not positive, or no channels.
    explicit clipped_moments(index channels, moment_options options = {})
        : options_(std::move(options)), sums_(static_cast<std::size_t>(std::max<index>(channels, 0))) {
        if (channels < 1 || !(options_.keep.value > 0 && options_.keep.value <= 1) || !(options_.scale > 0))
            throw value_error(options_.name + ": " + std::to_string(channels) + " channels, percentile " +
                              std::to_string(options_.keep.value) + ", scale " + std::to_string(options_.scale) +
                              ", expected at least 1 channel, a percentile in (0,1] and a positive scale");
    }

    /// First pass of two_phase: X (T,n), in the backend's memory, only raises the bound.
    template <class B, class M>
    void observe(const B& b, const M& X) {
        tau_ = std::max(tau_, batch_bound(token_norms(b, const_view(X))));
    }

    /// Accumulates X (T,n), in the backend's memory. Throws shape_error for a wrong number of channels; value_error,
    /// and leaves the moments as they were, for an empty batch and for values that are not finite.
    template <class B, class M>
    void add_batch(const B& b, const M& X) {
        const auto x = const_view(X);
        std::vector<S> weights = token_norms(b, x);
        if (options_.mode == clipping::two_phase && tau_ < 0)
            throw value_error(options_.name + ": two_phase moments need a pass of observe before add_batch");
        if (options_.mode == clipping::online) raise_bound(batch_bound(weights));
        for (S& w : weights)
            w = options_.mode == clipping::plain || !(static_cast<double>(w) > tau_)
                    ? S(1)
                    : static_cast<S>(tau_ / static_cast<double>(w));
        const auto uploaded = upload_vector(b, std::span<const S>(weights));
        auto batch = allocate_vector<double>(b, x.cols);
        add_square_sums(b, x, std::span<const S>(const_span(uploaded)), span_of(batch));
        const vector<double> squares = download_vector(b, std::span<const double>(const_span(batch)));
        for (std::size_t j = 0; j < sums_.size(); ++j)
            sums_[j] += squares(static_cast<index>(j)) / static_cast<double>(x.rows);
        ++batches_;
    }

    /// The mean over the batches, times options.scale. Throws value_error before the first batch.
    vector<S> finish() const {
        if (batches_ == 0) throw value_error(options_.name + ": no batch was added, expected at least one");
        vector<S> moments(static_cast<index>(sums_.size()));
        for (std::size_t j = 0; j < sums_.size(); ++j)
            moments(static_cast<index>(j)) = static_cast<S>(sums_[j] * options_.scale / static_cast<double>(batches_));
        return moments;
    }

    /// The bound on a token's norm so far; 0 before the first batch.
    double tau() const { return std::max(tau_, 0.0); }

  private:
    template <class B>
    std::vector<S> token_norms(const B& b, matrix_view<const S> x) const {
        if (x.rows < 1) throw value_error(options_.name + ": an empty batch, expected at least one token");
        require_size((options_.name + ": a token").c_str(), x.cols, std::ssize(sums_));
        auto norms = allocate_vector<S>(b, x.rows);
        column_norms(b, x.t(), span_of(norms));
        const vector<S> host = download_vector(b, std::span<const S>(const_span(norms)));
        const auto bad = std::find_if(host.begin(), host.end(), [](S norm) { return !std::isfinite(norm); });
        if (bad != host.end())
            throw value_error(options_.name + " (" + shape_text(x.rows, x.cols) + ") are not finite at token " +
                              std::to_string(bad - host.begin()));
        return {host.begin(), host.end()};
    }

    double batch_bound(std::vector<S> norms) const {
        const auto tokens = static_cast<double>(norms.size());
        const auto k = std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(tokens * (1 - options_.keep.value)));
        const auto kth = norms.begin() + (k - 1);
        std::nth_element(norms.begin(), kth, norms.end(), std::greater<S>());
        return static_cast<double>(*kth);
    }

    void raise_bound(double bound) {
        if (bound <= tau_) return;
        const double grown = tau_ > 0 ? bound / tau_ : 1.0;
        for (double& sum : sums_)
            sum *= grown * grown;
        tau_ = bound;
    }

    moment_options options_;
    std::vector<double> sums_;
    double tau_ = -1;  // no batch seen
    index batches_ = 0;
};

/// Shrinkage toward the mean, (1 - gamma) v + gamma mean(v), gamma in [0,1] (0.4 in the authors' code, 0.2 in the
/// paper); throws value_error for another gamma.
template <class S>
vector<S> shrink(const vector<S>& v, double gamma) {
    if (!(gamma >= 0 && gamma <= 1))
        throw value_error("shrink: gamma is " + std::to_string(gamma) + ", expected 0 to 1");
    double sum = 0;
    for (const S x : v)
        sum += static_cast<double>(x);
    const double pull = v.size() ? gamma * sum / static_cast<double>(v.size()) : 0.0;
    vector<S> result(v.size());
    for (index j = 0; j < v.size(); ++j)
        result(j) = static_cast<S>((1 - gamma) * static_cast<double>(v(j)) + pull);
    return result;
}

}  // namespace subbit
