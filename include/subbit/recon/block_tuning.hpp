// Tuning a block: an optimizer moves some of its parameters so that it maps its inputs to given targets.
#pragma once

#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/train/losses.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

/// The data on which a block is tuned.
template <class S>
struct block_data {
    matrix_view<const S> inputs;    ///< (windows * window, d): outputs of the compressed prefix
    matrix_view<const S> targets;   ///< (windows * window, d): outputs of the original block in the original model
    std::span<const S> importance;  ///< d weights of the squared error, or empty for ones
    index window = 0;               ///< tokens per window

    index windows() const { return window ? inputs.rows / window : 0; }

    /// shape_error unless inputs, targets, importance and window fit each other.
    void check() const {
        require_shape("block reconstruction: targets", targets.rows, targets.cols, inputs.rows, inputs.cols);
        if (!importance.empty()) require_size("block reconstruction: importance", std::ssize(importance), inputs.cols);
        if (window < 1 || inputs.rows % window != 0)
            throw shape_error("block reconstruction: inputs of " + shape_text(inputs.rows, inputs.cols) +
                              " are no whole windows of " + std::to_string(window) + " tokens");
    }
};

/// The block's relative error: sum importance (Y - Y*)^2 over all windows (docs/method.md, eq. 36), divided by sum
/// importance Y*^2.
template <class Block, class B, class S = typename Block::scalar>
double block_error(const B& b, const Block& block, const block_data<S>& data) {
    data.check();
    typename Block::tape tape;
    const index all = data.inputs.rows;
    const index step = std::min(all, std::max<index>(1, rows_at_once<B> / data.window) * data.window);
    auto Y = allocate<S>(b, step, data.inputs.cols), gradient = allocate<S>(b, step, data.inputs.cols);
    const double error = total_of(b, [&](std::span<double> total) {
        for (index t = 0; t < all; t += step) {
            const index rows = std::min(step, all - t);
            const auto y = view(Y).middle_rows(0, rows);
            block.forward(b, data.inputs.middle_rows(t, rows), data.window, y, tape);
            weighted_squared_error(b, matrix_view<const S>(y), data.targets.middle_rows(t, rows), data.importance,
                                   view(gradient).middle_rows(0, rows), total);
        }
    });
    const double norm = weighted_square(b, data.targets, data.importance);
    return norm > 0 ? error / norm : error;
}

/// The options of tune_block, and its callbacks.
template <class S>
struct tune_options {
    phase_options phase = {};
    /// The parameters to tune, with their gradients; if not set, all parameters of the block for which the phase has a
    /// rate.
    std::optional<std::vector<parameter<S>>> parameters = {};
    std::string_view what = "tune";  ///< as progress::step will call it
    progress& watcher = unwatched();
    std::function<void(std::size_t)> after_epoch = {};  ///< called with the number of finished epochs
};

/// The steps of a tuning: a batch of windows forward and backward through the block, then a move of the parameters.
template <class B, class Block>
class block_steps {
  public:
    using S = typename Block::scalar;
    using tuner_type = tuner<S, memory_of<B>>;

    /// Every batch but an epoch's last has `batch` windows.
    block_steps(const B& b, Block& block, const block_data<S>& data, index batch)
        : b_(b),
          block_(block),
          data_(data),
          batch_(batch),
          loss_(allocate<double>(b, 1)),
          norm_(weighted_square(b, data.targets, data.importance)) {
        for (auto* m : {&X_, &target_, &Y_, &dY_, &dX_})
            reshape(b, *m, batch * data.window, data.inputs.cols);
    }

    void begin_epoch() { fill(b_, 0, as_column(span_of(loss_))); }

    void step(std::span<const index> windows, const trainable& train, tuner_type& tune) {
        gather(windows);
        tune.next_step(b_);
        const auto work = [&] { learn(std::ssize(windows) * data_.window, train, tune); };
        if (!tune.repeats())
            work();
        else
            (std::ssize(windows) == batch_ ? whole_ : rest_)(b_, work);
    }

    /// The relative error over the epoch's windows so far, each measured before its step; waits for the backend.
    double error() const {
        const double loss = download(b_, std::span<const double>(const_span(loss_)))(0);
        return norm_ > 0 ? loss / norm_ : loss;
    }

  private:
    /// Copies the windows' inputs and targets side by side.
    void gather(std::span<const index> windows) {
        index to = 0;
        for (const index w : windows) {
            const index from = w * data_.window;
            axpby(b_, 1, data_.inputs.middle_rows(from, data_.window), 0, view(X_).middle_rows(to, data_.window));
            axpby(b_, 1, data_.targets.middle_rows(from, data_.window), 0, view(target_).middle_rows(to, data_.window));
            to += data_.window;
        }
    }

    void learn(index rows, const trainable& train, tuner_type& tune) {
        const auto part = [&](auto& m) { return view(m).middle_rows(0, rows); };
        const auto fixed = [&](auto& m) { return matrix_view<const S>(part(m)); };
        block_.forward(b_, fixed(X_), data_.window, part(Y_), tape_);
        weighted_squared_error(b_, fixed(Y_), fixed(target_), data_.importance, part(dY_), span_of(loss_));
        block_.backward(b_, train, tape_, data_.window, fixed(dY_), part(dX_));
        tune.update(b_);
        block_.after_update(b_);
    }

    const B& b_;
    Block& block_;
    const block_data<S>& data_;
    index batch_;
    typename Block::tape tape_;
    matrix_in<S, memory_of<B>> X_, target_, Y_, dY_, dX_;  // (batch * window, d)
    vector_in<double, memory_of<B>> loss_;                 // of the epoch so far
    double norm_;
    repeated_work<B> whole_, rest_;  // steps with all windows of a batch, and with those left at the end of an epoch
};

/// Tunes parameters of a block against the weighted squared error; returns each epoch's mean relative error. Throws
/// shape_error for data whose shapes do not fit, cancelled_error if the watcher asks to stop.
template <class B, class Block, class S = typename Block::scalar>
requires reconstruction_block<Block, B> std::vector<double> tune_block(const B& b, Block& block,
                                                                       const block_data<S>& data,
                                                                       std::type_identity_t<tune_options<S>> options) {
    data.check();
    if (!options.parameters) block.parameters(b, "", options.phase.what(), options.parameters.emplace());
    const trainable train = kinds_of(std::span<const parameter<S>>(*options.parameters));
    const index windows = data.windows();
    const index batch = std::min<index>(static_cast<index>(options.phase.batch_windows), windows);
    if (options.phase.epochs == 0 || options.parameters->empty() || batch == 0) return {};
    const std::size_t steps = options.phase.epochs * static_cast<std::size_t>((windows + batch - 1) / batch);
    tuner<S, memory_of<B>> tune(b, *std::move(options.parameters), options.phase, steps);
    block_steps<B, Block> work(b, block, data, batch);

    std::vector<double> curve;
    std::size_t done = 0;
    for (std::size_t epoch = 0; epoch < options.phase.epochs; ++epoch) {
        const std::vector<index> order = visiting_order(options.phase.seed, epoch, windows);
        work.begin_epoch();
        double error = 0;
        for (index first = 0; first < windows; first += batch) {
            const index count = std::min(batch, windows - first);
            work.step(std::span(order).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), train,
                      tune);
            ++done;
            if (done % steps_unseen<B> == 0 || first + batch >= windows) error = work.error();
            report_step(options.watcher, options.what, done, steps, error);
        }
        curve.push_back(error);
        if (options.after_epoch) options.after_epoch(epoch + 1);
    }
    return curve;
}

}  // namespace subbit
