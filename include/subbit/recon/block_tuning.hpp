// Tuning a block: an optimizer moves some of its parameters so that it maps its inputs to given targets.
#pragma once

#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/recon/best_state.hpp>
#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/recon/window_losses.hpp>
#include <subbit/train/losses.hpp>

#include <algorithm>
#include <functional>
#include <map>
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
    index held_back = 0;            ///< of the windows, the last: they judge each phase, which does not learn from them
    /// Called with the first row and the number of rows of inputs and targets that are not needed for a while: for data
    /// that lies in a file.
    std::function<void(index, index)> done = {};

    index windows() const { return window ? inputs.rows / window : 0; }

    /// The windows that are learned from.
    block_data learned() const { return part(0, windows() - held_back); }
    /// The windows that judge.
    block_data judging() const { return part(windows() - held_back, held_back); }

    /// shape_error unless inputs, targets, importance and window fit each other.
    void check() const {
        require_shape("block reconstruction: targets", targets.rows, targets.cols, inputs.rows, inputs.cols);
        if (!importance.empty()) require_size("block reconstruction: importance", std::ssize(importance), inputs.cols);
        if (window < 1 || inputs.rows % window != 0)
            throw shape_error("block reconstruction: inputs of " + shape_text(inputs.rows, inputs.cols) +
                              " are no whole windows of " + std::to_string(window) + " tokens");
        require_held_back("block reconstruction", held_back, windows());
    }

  private:
    block_data part(index first, index count) const {
        block_data some = *this;
        some.held_back = 0;
        some.inputs = inputs.middle_rows(first * window, count * window);
        some.targets = targets.middle_rows(first * window, count * window);
        if (done) some.done = [all = done, from = first * window](index row, index rows) { all(from + row, rows); };
        return some;
    }
};

/// The sum of importance Y*^2 over all windows, a few rows at a time.
template <class B, class S>
double targets_square(const B& b, const block_data<S>& data) {
    const index step = std::max<index>(1, rows_at_once<B> / data.window) * data.window;
    double sum = 0;
    for (index t = 0; t < data.targets.rows; t += step) {
        const index rows = std::min(step, data.targets.rows - t);
        sum += weighted_square(b, data.targets.middle_rows(t, rows), data.importance);
        if (data.done) data.done(t, rows);
    }
    return sum;
}

/// The block's relative error: sum importance (Y - Y*)^2 over all windows (docs/method.md, eq. 36), divided by sum
/// importance Y*^2. The ranks share the windows out, a few at a time.
template <class Block, class B, class S = typename Block::scalar>
double block_error(const B& b, const Block& block, const block_data<S>& data,
                   const communicator& ranks = this_process_alone()) {
    data.check();
    typename Block::tape tape;
    const index all = data.inputs.rows;
    const index step = std::max<index>(1, std::min(all, rows_at_once<B>) / data.window) * data.window;
    auto Y = allocate<S>(b, step, data.inputs.cols), gradient = allocate<S>(b, step, data.inputs.cols);
    const index steps = (all + step - 1) / step;
    window_losses<memory_of<B>> losses(b, steps);
    const unit_range mine = even_share(steps, ranks.size(), ranks.rank());
    for (index k = mine.first; k < mine.last; ++k) {
        const index t = k * step, rows = std::min(step, all - t);
        const auto y = view(Y).middle_rows(0, rows);
        block.forward(b, data.inputs.middle_rows(t, rows), data.window, y, tape);
        weighted_squared_error(b, matrix_view<const S>(y), data.targets.middle_rows(t, rows), data.importance,
                               view(gradient).middle_rows(0, rows), losses.current());
        losses.keep(b, k);
        if (data.done) data.done(t, rows);
    }
    const double error = losses.total(b, ranks);
    const double norm = targets_square(b, data);
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
    /// Those that share out the windows of a batch; a batch of one is done by every rank.
    const communicator& ranks = this_process_alone();
};

/// The steps of a tuning: the windows of a batch one after the other forward and backward through the block, each on
/// one of the ranks, then a move of the parameters by the mean of their gradients.
template <class B, class Block>
class block_steps {
  public:
    using S = typename Block::scalar;
    using tuner_type = tuner<S, memory_of<B>>;

    /// Steps of batches of `batch` windows, with fewer at the end of an epoch.
    block_steps(const B& b, Block& block, const block_data<S>& data, index batch, const communicator& ranks)
        : b_(b),
          block_(block),
          data_(data),
          batch_(batch),
          ranks_(ranks),
          losses_(b, data.windows()),
          norm_(targets_square(b, data)) {
        for (auto* m : {&X_, &target_, &Y_, &dY_, &dX_})
            reshape(b, *m, data.window, data.inputs.cols);
    }

    void begin_epoch() { losses_.clear(b_); }

    /// `visited` windows of the epoch came before these.
    void step(std::span<const index> windows, index visited, const trainable& train, tuner_type& tune) {
        if (batch_ == 1) return step(windows[0], visited, train, tune);
        const unit_range mine = terms_of(std::ssize(windows), ranks_.size(), ranks_.rank());
        for (index k = mine.first; k < mine.last; ++k) {
            take(windows[static_cast<std::size_t>(k)]);
            const index term = k - mine.first, terms = mine.count();
            works_[{term, terms}](b_, [&] {
                learn(train);
                tune.gather(b_, term, terms);
            });
            losses_.keep(b_, visited + k);
        }
        tune.next_step(b_, std::ssize(windows));
        tune.finish_step(b_, moving_, [&] { block_.after_update(b_); });
    }

    /// The relative error over the epoch's windows, each measured before its step; waits for the backend and the ranks.
    double error() const { return relative(losses_.total(b_, ranks_)); }
    /// The same of this rank's windows so far.
    double error_so_far() const { return relative(losses_.seen(b_)); }

  private:
    void step(index window, index visited, const trainable& train, tuner_type& tune) {
        take(window);
        tune.next_step(b_);
        const auto work = [&] {
            learn(train);
            tune.update(b_);
            block_.after_update(b_);
        };
        if (tune.repeats())
            moving_(b_, work);
        else
            work();
        losses_.keep(b_, visited);
    }

    void take(index window) {
        const index from = window * data_.window;
        axpby(b_, 1, data_.inputs.middle_rows(from, data_.window), 0, view(X_));
        axpby(b_, 1, data_.targets.middle_rows(from, data_.window), 0, view(target_));
        if (data_.done) data_.done(from, data_.window);
    }

    void learn(const trainable& train) {
        block_.forward(b_, const_view(X_), data_.window, view(Y_), tape_);
        weighted_squared_error(b_, const_view(Y_), const_view(target_), data_.importance, view(dY_), losses_.current());
        block_.backward(b_, train, tape_, data_.window, const_view(dY_), view(dX_));
    }

    double relative(double loss) const { return norm_ > 0 ? loss / norm_ : loss; }

    const B& b_;
    Block& block_;
    const block_data<S>& data_;
    index batch_;
    const communicator& ranks_;
    typename Block::tape tape_;
    matrix_in<S, memory_of<B>> X_, target_, Y_, dY_, dX_;  // (window, d)
    window_losses<memory_of<B>> losses_;
    double norm_;
    std::map<std::pair<index, index>, repeated_work<B>> works_;  // by a term of a batch and the number of terms
    repeated_work<B> moving_;
};

/// Judges a tuning by the block's error on held-back windows, before the first epoch and after each, and keeps the
/// parameters as they were when it was lowest: without such windows, as they were at first.
template <class B, class Block>
class tuning_judge {
  public:
    using S = typename Block::scalar;

    tuning_judge(const B& b, Block& block, block_data<S> held_back, const tune_options<S>& options)
        : b_(b),
          block_(block),
          data_(std::move(held_back)),
          ranks_(options.ranks),
          parameters_(*options.parameters),
          best_(b, parameters_) {
        look();
    }

    /// Measures the present error.
    void look() {
        if (data_.windows() == 0) return;
        errors_.push_back(block_error(b_, block_, data_, ranks_));
        if (errors_.size() > 1 && ends_best(errors_)) best_.save(b_, parameters_);
    }
    /// Makes the parameters what they were at their best.
    void go_back() {
        best_.restore(b_, parameters_);
        block_.after_update(b_);
    }
    /// The same for a phase that begins anew.
    void begin_again() {
        go_back();
        if (!errors_.empty()) errors_.assign(1, errors_[best_of(errors_)]);
    }
    /// The errors so far; empty where nothing judges.
    const std::vector<double>& errors() const { return errors_; }

  private:
    const B& b_;
    Block& block_;
    block_data<S> data_;
    const communicator& ranks_;
    std::span<const parameter<S>> parameters_;
    saved_values<S, memory_of<B>> best_;
    std::vector<double> errors_;
};

/// The errors of a tuning.
struct tuning_curves {
    std::vector<double> epochs;     ///< each epoch's mean relative error, every window measured before its step
    std::vector<double> held_back;  ///< relative error on the held-back windows: at the start and after each epoch
};

/// divergence_error naming the step if its loss is not finite, or value_error if it is the first, which no rate can
/// mend.
inline void require_finite(double error, std::size_t step) {
    if (!is_finite(error) && step == 1) throw value_error("the loss of the first step is not finite");
    if (!is_finite(error)) throw divergence_error("the loss of step " + std::to_string(step) + " is not finite");
}

/// One attempt of tune_block: divergence_error once a loss or a parameter is not finite, value_error if the first loss
/// is not, which no rate can mend.
template <class B, class Block, class S = typename Block::scalar>
std::vector<double> tune_at(const B& b, Block& block, const block_data<S>& data, const tune_options<S>& options,
                            const phase_options& phase, tuning_judge<B, Block>& judge) {
    const std::span<const parameter<S>> parameters(*options.parameters);
    const trainable train = kinds_of(parameters);
    const index windows = data.windows();
    const index batch = std::min<index>(static_cast<index>(phase.batch_windows), windows);
    if (phase.epochs == 0 || parameters.empty() || batch == 0) return {};
    const std::size_t steps = phase.epochs * static_cast<std::size_t>((windows + batch - 1) / batch);
    const communicator& ranks = batch > 1 ? options.ranks : this_process_alone();
    tuner<S, memory_of<B>> tune(b, *options.parameters, phase, steps, ranks);
    block_steps<B, Block> work(b, block, data, batch, ranks);

    std::vector<double> curve;
    std::size_t done = 0;
    for (std::size_t epoch = 0; epoch < phase.epochs; ++epoch) {
        const std::vector<index> order = visiting_order(phase.seed, epoch, windows);
        work.begin_epoch();
        double error = 0;
        for (index first = 0; first < windows; first += batch) {
            const index count = std::min(batch, windows - first);
            work.step(std::span(order).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), first,
                      train, tune);
            ++done;
            if (done % steps_unseen<B> == 0) error = work.error_so_far();
            // Several ranks find out together, at the end of the epoch.
            if (ranks.is_alone()) require_finite(error, done);
            report_step(options.watcher, options.what, done, steps, error);
        }
        tune.share_latents(b);
        curve.push_back(work.error());
        require_finite(curve.back(), done);
        require_finite(b, parameters);
        judge.look();
        if (options.after_epoch) options.after_epoch(epoch + 1);
    }
    return curve;
}

/// Tunes parameters of a block against the weighted squared error of the windows that are not held back. Held-back
/// windows judge the phase: at the end the parameters are as they were when these windows' error was lowest. Where
/// numbers stop being finite, the phase begins anew from its best state, with a tenth of its rates. The watcher gets a
/// note of both.
///
/// Throws shape_error for data whose shapes do not fit, value_error if all windows are held back, cancelled_error if
/// the watcher asks to stop, value_error if the first loss is not finite, and divergence_error if a thousandth of the
/// rates is still too much; the parameters are then as at their best.
template <class B, class Block, class S = typename Block::scalar>
requires reconstruction_block<Block, B> tuning_curves tune_block(const B& b, Block& block, const block_data<S>& data,
                                                                 std::type_identity_t<tune_options<S>> options) {
    data.check();
    if (!options.parameters) block.parameters(b, "", options.phase.what(), options.parameters.emplace());
    const auto learned = data.learned();
    tuning_judge<B, Block> judge(b, block, options.phase.epochs > 0 ? data.judging() : block_data<S>{}, options);
    const std::string what(options.what);
    for (int restarts = 0;; ++restarts) {
        try {
            const auto phase = options.phase.with_rates_times(slow_down::share(restarts));
            tuning_curves curves{tune_at(b, block, learned, options, phase, judge), judge.errors()};
            if (!curves.held_back.empty() && !ends_best(curves.held_back)) {
                judge.go_back();
                options.watcher.note(what + ": " + best_remark(curves.held_back));
            }
            return curves;
        } catch (const value_error& e) {
            throw value_error(what + ": " + e.what());
        } catch (const divergence_error& e) {
            judge.begin_again();
            if (restarts == slow_down::times)
                throw divergence_error(what + ": " + e.what() + ", even at " + slow_down::words(restarts) +
                                       " of the rates");
            options.watcher.note(what + ": " + e.what() + "; it begins again at " + slow_down::words(restarts + 1) +
                                 " of the rates");
        }
    }
}

}  // namespace subbit
