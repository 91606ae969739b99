// Second moments of activations and gradients, robust against single tokens of large norm (docs/method.md, section 3).
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/calib/exact_sums.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/types.hpp>
#include <subbit/distribute/communicator.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// How tokens of large norm are clipped.
enum class clipping {
    quantile,  ///< a first pass over all tokens (observe) finds the norm that `keep` of them have at most, a second one
               ///< (add_batch) accumulates; how tokens are divided into batches does not matter
    online,    ///< NanoQuant's: one pass; the bound is the batches' largest so far, and the sums are rescaled when it
               ///< grows. A batch of fewer than 2 / (1 - keep) tokens clips none of its own, so that one token decides
    two_phase,  ///< NanoQuant's bound of each batch; observe finds the largest of them, add_batch accumulates
    plain,      ///< no clipping (DBF)
};

/// Whether a way of clipping needs a pass of `observe` over all tokens before that of `add_batch`.
constexpr bool needs_two_passes(clipping mode) {
    return mode == clipping::quantile || mode == clipping::two_phase;
}

/// Settings of clipped_moments.
struct moment_options {
    clipping mode = clipping::quantile;
    percentile keep = percentile{0.999};  ///< fraction of the tokens that clipping leaves unchanged
    double scale = 1;                     ///< factor of the moments (1e6 for gradients)
    std::string name = "activations";     ///< what messages call them
};

namespace detail {

/// How many tokens have which norm, to one part in 256: the counts of several ranks are added.
class norm_counts {
  public:
    void add(double norm) {
        auto& [count, largest] = bins_[std::bit_cast<std::uint64_t>(norm) >> (52 - fraction_bits)];
        ++count;
        largest = std::max(largest, norm);
        ++total_;
    }
    index total() const { return total_; }

    void merge(const communicator& ranks) {
        // One list after the other: bins that several ranks have meet when they are added.
        std::vector<entry> all = entries();
        join_all(ranks, all,
                 [](auto& joined, const auto& other) { joined.insert(joined.end(), other.begin(), other.end()); });
        bins_.clear();
        total_ = 0;
        add(all);
    }

    /// The k-th largest norm, raised to the largest of its bin; 0 if there are fewer.
    double largest(index k) const {
        for (auto bin = bins_.rbegin(); bin != bins_.rend(); ++bin)
            if ((k -= bin->second.first) <= 0) return bin->second.second;
        return 0;
    }

  private:
    struct entry {
        std::uint64_t bin;
        index count;
        double largest;
    };
    std::vector<entry> entries() const {
        std::vector<entry> all;
        for (const auto& [bin, value] : bins_)
            all.push_back({bin, value.first, value.second});
        return all;
    }
    void add(const std::vector<entry>& more) {
        for (const entry& e : more) {
            auto& [count, largest] = bins_[e.bin];
            count += e.count;
            largest = std::max(largest, e.largest);
            total_ += e.count;
        }
    }

    static constexpr int fraction_bits = 8;  // the bits of positive doubles are in the order of their values

    std::map<std::uint64_t, std::pair<index, double>> bins_;  // count and largest norm
    index total_ = 0;
};

}  // namespace detail

/// Accumulates mean_t (c_t x_t)^2 per channel over batches of tokens, with c_t = min(1, tau / ||x_t||) (docs/method.md,
/// eq. 7 to 9): no token changes the mean of T tokens by more than tau^2 / T (NanoQuant, Lemma 1). Sums are in double,
/// and with two passes exact, so that ranks can share the batches out.
template <class S>
class clipped_moments {
  public:
    /// Throws value_error for a percentile outside (0,1], a scale that is not positive and finite, or no channels.
    explicit clipped_moments(index channels, moment_options options = {})
        : options_(std::move(options)),
          sums_(static_cast<std::size_t>(std::max<index>(channels, 0))),
          exact_(std::max<index>(channels, 0)) {
        const bool numbers = is_finite(options_.keep.value) && is_finite(options_.scale);
        if (channels < 1 || !numbers || options_.keep.value <= 0 || options_.keep.value > 1 || options_.scale <= 0)
            throw value_error(options_.name + ": " + std::to_string(channels) + " channels, percentile " +
                              std::to_string(options_.keep.value) + ", scale " + std::to_string(options_.scale) +
                              ", expected at least 1 channel, a percentile in (0,1] and a positive, finite scale");
    }

    /// The first pass of quantile and two_phase: X (T,n), in the backend's memory, only has a part in the bound. X is
    /// one batch, or several batches of `tokens` tokens each. Throws like add_batch, and value_error after one.
    template <class B, class M>
    void observe(const B& b, const M& X, index tokens = 0) {
        if (total_ > 0) throw value_error(options_.name + ": observe after add_batch, expected all of it before");
        const std::vector<S> norms = token_norms(b, const_view(X), tokens);
        if (options_.mode == clipping::quantile) {
            for (const S norm : norms)
                counts_.add(static_cast<double>(norm));
            tau_ = counts_.largest(tokens_beyond(counts_.total()) + 1);
        } else {
            for (auto batch = norms.begin(); batch != norms.end(); batch += batch_length(tokens, norms))
                tau_ = std::max(tau_, batch_bound({batch, batch + batch_length(tokens, norms)}));
        }
    }

    /// Accumulates X (T,n), in the backend's memory: one batch, or several batches of `tokens` tokens each, in order.
    /// Throws shape_error for a wrong number of channels or of tokens; throws value_error, and leaves the moments
    /// unchanged, for an empty batch, values that are not finite, or a mode that needs a pass of observe first.
    template <class B, class M>
    void add_batch(const B& b, const M& X, index tokens = 0) {
        const auto x = const_view(X);
        std::vector<S> weights = token_norms(b, x, tokens);
        if (needs_two_passes(options_.mode) && tau_ < 0)
            throw value_error(options_.name +
                              ": add_batch before observe; expected a pass of observe over all batches " +
                              "first, or clipping::online");
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
        // Quantile averages over tokens, the paper over the means of batches.
        const bool by_token = options_.mode == clipping::quantile;
        const auto divisor = by_token ? 1.0 : static_cast<double>(length);
        if (total_ == 0 && needs_two_passes(options_.mode)) exact_.bound(tau_ * tau_);
        for (std::size_t k = 0; k < growth.size(); ++k)
            for (std::size_t j = 0; j < sums_.size(); ++j) {
                const double term = squares(static_cast<index>(k), static_cast<index>(j)) / divisor;
                if (needs_two_passes(options_.mode))
                    exact_.add(j, term);
                else
                    sums_[j] = sums_[j] * (growth[k] * growth[k]) + term;
            }
        total_ += by_token ? x.rows : std::ssize(growth);
    }

    /// After the first pass: what the other ranks have observed counts too. value_error for a mode without one, whose
    /// batches have an order.
    void merge_observed(const communicator& ranks) {
        require_shareable(ranks);
        if (ranks.is_alone()) return;
        counts_.merge(ranks);
        std::vector<double> bounds{tau_};
        join_all(ranks, bounds, [](auto& largest, const auto& other) { largest[0] = std::max(largest[0], other[0]); });
        tau_ = options_.mode == clipping::quantile ? counts_.largest(tokens_beyond(counts_.total()) + 1) : bounds[0];
    }
    /// After the second pass: adds what the other ranks have accumulated, with the same bits for any share of each.
    void merge_added(const communicator& ranks) {
        require_shareable(ranks);
        if (ranks.is_alone()) return;
        if (total_ == 0) exact_.bound(tau_ * tau_);
        exact_.merge(ranks);
        std::vector<index> totals{total_};
        sum_all(ranks, totals);
        total_ = totals[0];
    }

    /// The mean over all tokens (quantile) or over the batches' means, times options.scale. Throws value_error before
    /// the first batch.
    vector<S> finish() const {
        if (total_ == 0) throw value_error(options_.name + ": no batch was added, expected at least one");
        vector<S> moments(static_cast<index>(sums_.size()));
        for (std::size_t j = 0; j < sums_.size(); ++j) {
            const double sum = needs_two_passes(options_.mode) ? exact_.of(j) : sums_[j];
            moments(static_cast<index>(j)) = static_cast<S>(sum * options_.scale / static_cast<double>(total_));
        }
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

    void require_shareable(const communicator& ranks) const {
        if (!ranks.is_alone() && !needs_two_passes(options_.mode))
            throw value_error(options_.name + ": batches in order, expected clipping by quantile or two_phase where " +
                              std::to_string(ranks.size()) + " ranks share them out");
    }

    /// How many of so many tokens may be beyond the bound.
    index tokens_beyond(index tokens) const {
        return static_cast<index>(static_cast<double>(tokens) * (1 - options_.keep.value));
    }

    double batch_bound(std::vector<S> norms) const {
        const auto kth = norms.begin() + (std::max<index>(1, tokens_beyond(std::ssize(norms))) - 1);
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
    std::vector<double> sums_;    // of one pass
    exact_sums exact_;            // of two
    detail::norm_counts counts_;  // of quantile
    double tau_ = -1;             // no batch seen
    index total_ = 0;             // tokens (quantile) or batches that were added
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
