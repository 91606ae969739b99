// Second moments of activations and gradients, robust against single tokens of large norm (docs/method.md, section 3).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace subbit {

/// How tokens of large norm are clipped.
enum class clipping {
    online,     ///< one pass; the bound is the running maximum, and the sums are rescaled when it grows
    two_phase,  ///< a first pass over all batches (observe) finds the bound, a second one (add_batch) accumulates
    plain,      ///< no clipping (DBF)
};

/// Settings of clipped_moments.
struct moment_options {
    clipping mode = clipping::online;
    percentile keep =
        percentile{0.999};             ///< the k-th largest norm of a batch of T is its bound, k = max(1, T (1 - keep))
    double scale = 1;                  ///< factor of the moments (1e6 for gradients)
    std::string name = "activations";  ///< what messages call them
};

/// Accumulates mean_t (c_t x_t)^2 per channel over batches of tokens, with c_t = min(1, tau / ||x_t||) (docs/method.md,
/// eq. 7 to 9): no token changes the result of a batch by more than tau^2 / T (NanoQuant, Lemma 1). Sums are in double.
template <class S>
class clipped_moments {
  public:
    /// Throws value_error for a percentile outside (0,1], a scale that is not positive and finite, or no channels.
    explicit clipped_moments(index channels, moment_options options = {})
        : options_(std::move(options)), sums_(static_cast<std::size_t>(std::max<index>(channels, 0))) {
        const bool numbers = is_finite(options_.keep.value) && is_finite(options_.scale);
        if (channels < 1 || !numbers || options_.keep.value <= 0 || options_.keep.value > 1 || options_.scale <= 0)
            throw value_error(options_.name + ": " + std::to_string(channels) + " channels, percentile " +
                              std::to_string(options_.keep.value) + ", scale " + std::to_string(options_.scale) +
                              ", expected at least 1 channel, a percentile in (0,1] and a positive, finite scale");
    }

    /// First pass of two_phase: X (T,n), in the backend's memory, only raises the bound. X is one batch, or several
    /// batches of `tokens` tokens each.
    template <class B, class M>
    void observe(const B& b, const M& X, index tokens = 0) {
        const std::vector<S> norms = token_norms(b, const_view(X), tokens);
        for (auto batch = norms.begin(); batch != norms.end(); batch += batch_length(tokens, norms))
            tau_ = std::max(tau_, batch_bound({batch, batch + batch_length(tokens, norms)}));
    }

    /// Accumulates X (T,n), in the backend's memory: one batch, or several batches of `tokens` tokens each, in order.
    /// Throws shape_error for a wrong number of channels or of tokens; throws value_error, and leaves the moments
    /// unchanged, for an empty batch or values that are not finite.
    template <class B, class M>
    void add_batch(const B& b, const M& X, index tokens = 0) {
        const auto x = const_view(X);
        std::vector<S> weights = token_norms(b, x, tokens);
        if (options_.mode == clipping::two_phase && tau_ < 0)
            throw value_error(options_.name + ": two_phase moments need a pass of observe before add_batch");
        const auto length = batch_length(tokens, weights);
        std::vector<double> growth;  // of the bound, for each batch
        for (auto batch = weights.begin(); batch != weights.end(); batch += length) {
            growth.push_back(options_.mode == clipping::online ? raise_bound(batch_bound({batch, batch + length})) : 1);
            std::transform(batch, batch + length, batch, [&](S w) {
                return options_.mode == clipping::plain || !(static_cast<double>(w) > tau_)
                           ? S(1)
                           : static_cast<S>(tau_ / static_cast<double>(w));
            });
        }
        const matrix<double> squares = square_sums(b, x, weights, std::ssize(growth));
        for (std::size_t k = 0; k < growth.size(); ++k)
            for (std::size_t j = 0; j < sums_.size(); ++j)
                sums_[j] = sums_[j] * (growth[k] * growth[k]) +
                           squares(static_cast<index>(k), static_cast<index>(j)) / static_cast<double>(length);
        batches_ += std::ssize(growth);
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
    std::vector<S> token_norms(const B& b, matrix_view<const S> x, index tokens) const {
        if (x.rows < 1) throw value_error(options_.name + ": an empty batch, expected at least one token");
        require_size((options_.name + ": a token").c_str(), x.cols, std::ssize(sums_));
        if (tokens > 0 && x.rows % tokens != 0)
            throw shape_error(options_.name + " (" + shape_text(x.rows, x.cols) + ") are no whole batches of " +
                              std::to_string(tokens) + " tokens");
        auto norms = allocate<S>(b, x.rows);
        column_norms(b, x.t(), span_of(norms));
        const vector<S> host = download(b, norms);
        const auto bad = std::find_if(host.begin(), host.end(), [](const S& norm) { return !is_finite(norm); });
        if (bad != host.end())
            throw value_error(options_.name + " (" + shape_text(x.rows, x.cols) + ") are not finite at token " +
                              std::to_string(bad - host.begin()));
        return {host.begin(), host.end()};
    }

    static std::ptrdiff_t batch_length(index tokens, const std::vector<S>& norms) {
        return tokens > 0 ? tokens : std::ssize(norms);
    }

    /// The weighted squares of every batch summed, (batches, channels) on the host.
    template <class B>
    static matrix<double> square_sums(const B& b, matrix_view<const S> x, const std::vector<S>& weights,
                                      index batches) {
        const auto uploaded = upload(b, std::span<const S>(weights));
        auto sums = allocate<double>(b, batches, x.cols);
        const index tokens = x.rows / batches;
        for (index k = 0; k < batches; ++k)
            add_square_sums(b, x.middle_rows(k * tokens, tokens),
                            std::span<const S>(const_span(uploaded))
                                .subspan(static_cast<std::size_t>(k * tokens), static_cast<std::size_t>(tokens)),
                            entries_of_row(sums, k));
        return download(b, sums);
    }
    template <class M>
    static std::span<double> entries_of_row(M& sums, index row) {
        const auto v = view(sums);
        return {v.data + row * v.cols, static_cast<std::size_t>(v.cols)};
    }

    double batch_bound(std::vector<S> norms) const {
        const auto tokens = static_cast<double>(norms.size());
        const auto k = std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(tokens * (1 - options_.keep.value)));
        const auto kth = norms.begin() + (k - 1);
        std::nth_element(norms.begin(), kth, norms.end(), std::greater<S>());
        return static_cast<double>(*kth);
    }

    /// The factor by which the bound grows, 1 if it does not.
    double raise_bound(double bound) {
        if (bound <= tau_) return 1;
        const double grown = tau_ > 0 ? bound / tau_ : 1.0;
        tau_ = bound;
        return grown;
    }

    moment_options options_;
    std::vector<double> sums_;
    double tau_ = -1;  // no batch seen
    index batches_ = 0;
};

/// The second moments of one linear layer: of its inputs (n) and of its output gradients (m); empty for ones.
template <class S>
struct layer_moments {
    vector<S> input, output;
};

/// Shrinkage toward the mean, (1 - gamma) v + gamma mean(v) (docs/method.md, eq. 10), with gamma in [0,1] (0.4 in the
/// authors' code, 0.2 in the paper); throws value_error for another gamma.
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
