// The loss of every window of an epoch, whichever rank measured it.
#pragma once

#include <subbit/distribute/exchange.hpp>

#include <numeric>
#include <span>
#include <vector>

namespace subbit {

/// A number for each window, in the order in which an epoch visits them. Its sum has the same rounding for any number
/// of ranks.
template <class Memory>
class window_losses {
  public:
    template <class B>
    window_losses(const B& b, index windows) : current_(allocate<double>(b, 1)), kept_(allocate<double>(b, windows)) {}

    /// A number of the backend's memory to which the loss of the present window is added; zero at first and after
    /// keep().
    std::span<double> current() { return span_of(current_); }

    /// Moves the current loss to its place.
    template <class B>
    void keep(const B& b, index visit) {
        axpby(b, 1, detail::as_row(std::span<const double>(const_span(current_))), 0,
              detail::as_row(span_of(kept_).subspan(static_cast<std::size_t>(visit), 1)));
        fill(b, 0, as_column(span_of(current_)));
    }
    /// Forgets all.
    template <class B>
    void clear(const B& b) {
        fill(b, 0, as_column(span_of(kept_)));
    }

    /// `before` plus the losses that this rank has measured, in the order of visits; waits for the backend.
    template <class B>
    double seen(const B& b, double before = 0) const {
        return total(b, this_process_alone(), before);
    }
    /// The same of all ranks, each window measured by one of them.
    template <class B>
    double total(const B& b, const communicator& ranks, double before = 0) const {
        const auto host = download(b, kept_);
        std::vector<double> losses(host.begin(), host.end());
        sum_all(ranks, losses);  // each is zero on all ranks but one
        return std::accumulate(losses.begin(), losses.end(), before);
    }

  private:
    vector_in<double, Memory> current_, kept_;
};

}  // namespace subbit
