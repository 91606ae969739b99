// Block reconstruction (nanoquant.md section 5): a block's linear layers become binary ones, tuned so that the block
// still maps the compressed prefix's activations to the original block's outputs.
#pragma once

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/backend/jobs/repeated.hpp>
#include <subbit/backend/jobs/streams.hpp>
#include <subbit/recon/block_concept.hpp>
#include <subbit/recon/sign_flips.hpp>
#include <subbit/recon/tuning.hpp>
#include <subbit/train/losses.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace subbit {

/// What a block is tuned on.
template <class S>
struct block_data {
    matrix_view<const S> inputs;    ///< (windows * window, d): what the compressed prefix produces
    matrix_view<const S> targets;   ///< (windows * window, d): the original block on the original prefix
    std::span<const S> importance;  ///< d weights of the squared error, or empty for ones
    index window = 0;               ///< tokens per window

    index windows() const { return window ? inputs.rows / window : 0; }

    /// shape_error where inputs, targets, importance and window do not fit each other.
    void check() const {
        require_shape("block reconstruction: targets", targets.rows, targets.cols, inputs.rows, inputs.cols);
        if (!importance.empty()) require_size("block reconstruction: importance", std::ssize(importance), inputs.cols);
        if (window < 1 || inputs.rows % window != 0)
            throw shape_error("block reconstruction: inputs of " + shape_text(inputs.rows, inputs.cols) +
                              " are no whole windows of " + std::to_string(window) + " tokens");
    }
};

/// sum importance (Y - Y*)^2 over all windows, divided by sum importance Y*^2.
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

/// Tunes a block's parameters against the weighted squared error; returns each epoch's mean relative error.
/// `observe(epochs)` is called after every epoch.
template <class B, class Block, class Observe = ignore_steps, class S = typename Block::scalar>
requires reconstruction_block<Block, B> std::vector<double> tune_block(
    const B& b, Block& block, std::vector<parameter<S>> parameters, const trainable& train, const block_data<S>& data,
    const phase_options& options, std::string_view what, progress& watcher, Observe&& observe = {}) {
    data.check();
    const index windows = data.windows();
    const index batch = std::min<index>(static_cast<index>(options.batch_windows), windows);
    if (options.epochs == 0 || parameters.empty() || batch == 0) return {};
    const index batches = (windows + batch - 1) / batch, d = data.inputs.cols;
    const std::size_t steps = options.epochs * static_cast<std::size_t>(batches);
    tuner<S, memory_of<B>> tune(b, std::move(parameters), options, steps);

    typename Block::tape tape;
    const auto rows_of_batch = [&] { return allocate<S>(b, batch * data.window, d); };
    auto X = rows_of_batch(), target = rows_of_batch(), Y = rows_of_batch(), dY = rows_of_batch(), dX = rows_of_batch();
    auto loss = allocate<double>(b, 1);  // of the epoch so far
    const double norm = weighted_square(b, data.targets, data.importance);
    const auto step_on = [&](index rows) {
        const auto part = [&](auto& m) { return view(m).middle_rows(0, rows); };
        block.forward(b, matrix_view<const S>(part(X)), data.window, part(Y), tape);
        weighted_squared_error(b, matrix_view<const S>(part(Y)), matrix_view<const S>(part(target)), data.importance,
                               part(dY), span_of(loss));
        block.backward(b, train, tape, data.window, matrix_view<const S>(part(dY)), part(dX));
        tune.update(b);
        block.after_update(b);
    };
    repeated_work<B> whole, rest;  // steps with all windows of a batch, and with those left at the end of an epoch

    std::vector<double> curve;
    std::size_t done = 0;
    for (std::size_t epoch = 0; epoch < options.epochs; ++epoch) {
        const auto order = visiting_order(options.seed, epoch, windows);
        fill(b, 0, as_column(span_of(loss)));
        double epoch_loss = 0;
        for (index first = 0; first < windows; first += batch) {
            const index count = std::min(batch, windows - first);
            for (index k = 0; k < count; ++k) {
                const index from = order[static_cast<std::size_t>(first + k)] * data.window;
                const index to = k * data.window;
                axpby(b, 1, data.inputs.middle_rows(from, data.window), 0, view(X).middle_rows(to, data.window));
                axpby(b, 1, data.targets.middle_rows(from, data.window), 0, view(target).middle_rows(to, data.window));
            }
            tune.next_step(b);
            const auto step = [&] { step_on(count * data.window); };
            if (!tune.repeats())
                step();
            else
                (count == batch ? whole : rest)(b, step);
            ++done;
            if (done % steps_unseen<B> == 0 || first + batch >= windows) epoch_loss = download(b, loss)(0);
            report_step(watcher, what, done, steps, norm > 0 ? epoch_loss / norm : epoch_loss);
        }
        curve.push_back(norm > 0 ? epoch_loss / norm : epoch_loss);
        observe(epoch + 1);
    }
    return curve;
}

/// The order in which a block's layers are factorized: the one given, or as stored. value_error unless it names each of
/// the `total` layers once.
inline std::vector<index> checked_layer_order(std::vector<index> given, index total) {
    std::vector<index> stored(static_cast<std::size_t>(total));
    std::iota(stored.begin(), stored.end(), index{0});
    if (given.empty()) return stored;
    if (!std::is_permutation(given.begin(), given.end(), stored.begin(), stored.end()))
        throw value_error("block reconstruction: the layer order does not name each of the block's " +
                          std::to_string(total) + " layers once");
    return given;
}

/// value_error naming the layer unless all of the block's layers are dense.
template <class Block>
void require_dense_layers(const Block& block) {
    for (index l = 0; l < block.layer_total(); ++l)
        if (!block.layer(l).is_dense())
            throw value_error(std::string("block reconstruction: layer ") + block.layer_name(l) +
                              " is compressed already, expected a dense one");
}

/// Whether layers are factorized and tuned one after the other (the paper), or all factorized first and tuned together.
enum class reconstruction_order { layer_by_layer, joint };

/// The phases of one block.
struct block_recipe {
    reconstruction_order order = reconstruction_order::joint;
    std::vector<index> layer_order;  ///< in which layers are factorized; empty: as stored
    phase_options tune_weights;      ///< error-propagation mitigation before each layer; epochs = 0 skips it
    phase_options tune_binary;       ///< straight-through refinement of latents, scales and biases
    bool keep_latents = false;       ///< in the finished layers, for a later phase that moves them
    int layers_at_once = 4;          ///< factorized side by side in the joint order, where the backend has streams
};

/// What happened to one layer.
struct layer_report {
    std::string name;
    index rows = 0, cols = 0;
    index rank = 0;   ///< of a low-rank layer
    index paths = 0;  ///< of a residual layer
    double bits_per_weight = 0;
    double factor_error = 0;  ///< preconditioned relative error after the factorization
    double tuned_error = 0;   ///< the same after tuning: it may rise, for the block's outputs are what is tuned
    double flipped = 0;       ///< share of signs that tuning changed
    double seconds = 0;       ///< factorization
};

/// What happened to one block.
struct block_report {
    std::vector<layer_report> layers;
    double factor_error = 0;  ///< block_error after the (last) factorization
    double tuned_error = 0;   ///< block_error of the hardened block
    std::vector<double> tune_weights_curve, tune_binary_curve;
    double seconds = 0;
    phase_seconds phases;  ///< of them: "factorize", "install", "tune", "harden" and "measure"
};

/// Replaces every linear layer of `block` by a compressed one.
///
/// `factorize(stream, l, weight)` returns {linear_layer, compressed and with latents, relative error}; it is the
/// solver, with its statistics and rank, on the backend `stream`: `b`, or another stream of its device, where several
/// layers are factorized at once. The weight and what it returns are on the host. `measure(l, layer)` returns the
/// preconditioned relative error of a layer's present form. `harden(l, layer)` rounds a finished layer to what will be
/// stored. Bits and scales are final when this returns. `observe(epochs)` is called before a joint phase, with 0, and
/// after every epoch of it. Throws, before anything is changed, shape_error for data that do not fit each other,
/// value_error for a bad layer order and for a layer that is compressed already, by its name.
template <class B, class Block, class Factorize, class Measure, class Harden, class Observe = ignore_steps,
          class S = typename Block::scalar>
requires reconstruction_block<Block, B> block_report reconstruct_block(
    const B& b, Block& block, const block_data<S>& data, const block_recipe& recipe, Factorize&& factorize,
    Measure&& measure, Harden&& harden, progress& watcher, Observe&& observe = {}) {
    using clock = std::chrono::steady_clock;
    const auto seconds_since = [](clock::time_point t) {
        return std::chrono::duration<double>(clock::now() - t).count();
    };
    const auto begin = clock::now();
    phase_clock phases;
    const index total = block.layer_total();
    data.check();
    require_dense_layers(block);
    const std::vector<index> order = checked_layer_order(recipe.layer_order, total);
    block_report report;
    report.layers.resize(static_cast<std::size_t>(total));
    std::vector<std::vector<bit_matrix>> first_signs(static_cast<std::size_t>(total));

    std::vector<linear_layer<S>> factorized(static_cast<std::size_t>(total));
    const auto factorize_layer = [&](const auto& stream, index l) {
        auto& entry = report.layers[static_cast<std::size_t>(l)];
        const auto start = clock::now();
        auto& weight = block.layer(l).dense().weight;
        const auto host = download(stream, std::move(weight));
        std::tie(factorized[static_cast<std::size_t>(l)], entry.factor_error) = factorize(stream, l, const_view(host));
        entry.seconds = seconds_since(start);
    };
    const auto install_layer = [&](index l) {
        auto& layer = block.layer(l);
        auto& entry = report.layers[static_cast<std::size_t>(l)];
        entry.name = block.layer_name(l);
        auto bias = std::move(layer.dense().bias);
        layer = upload(b, std::move(factorized[static_cast<std::size_t>(l)]));
        layer.visit_compressed([&](auto& compressed) {
            compressed.layer.bias = std::move(bias);
            entry.rows = compressed.rows();
            entry.cols = compressed.cols();
            if constexpr (requires { compressed.layer.rank(); })
                entry.rank = compressed.layer.rank();
            else
                entry.paths = compressed.layer.path_count();
            entry.bits_per_weight = compressed.layer.bits_per_weight();
            first_signs[static_cast<std::size_t>(l)] = compressed.signs(b);
        });
    };
    const auto harden_layer = [&](index l) {
        auto& layer = block.layer(l);
        auto& entry = report.layers[static_cast<std::size_t>(l)];
        layer.visit_compressed([&](auto& compressed) {
            entry.flipped = share_flipped(first_signs[static_cast<std::size_t>(l)], compressed.signs(b));
            compressed.harden(recipe.keep_latents);
        });
        harden(l, layer);
        phases.end(b, "harden");
        entry.tuned_error = measure(l, std::as_const(layer));
        phases.end(b, "measure");
    };
    const auto append = [](std::vector<double>& curve, const std::vector<double>& more) {
        curve.insert(curve.end(), more.begin(), more.end());
    };

    if (recipe.order == reconstruction_order::layer_by_layer) {
        for (const index l : order) {
            if (recipe.tune_weights.epochs > 0) {
                std::vector<parameter<S>> dense;
                const auto train = recipe.tune_weights.what();
                for (index k = 0; k < total; ++k)
                    if (block.layer(k).is_dense()) block.layer(k).parameters(b, block.layer_name(k), train, dense);
                append(
                    report.tune_weights_curve,
                    tune_block(b, block, std::move(dense), trainable{.weights = train.weights, .biases = train.biases},
                               data, recipe.tune_weights, "tune weights", watcher));
                for (index k = 0; k < total; ++k)
                    if (block.layer(k).is_dense()) block.layer(k).dense().d_weight = {};
            }
            phases.end(b, "tune");
            factorize_layer(b, l);
            phases.end(b, "factorize");
            install_layer(l);
            phases.end(b, "install");
            if (l == order.back()) report.factor_error = block_error(b, block, data);
            phases.end(b, "measure");
            std::vector<parameter<S>> binary;
            const auto train = recipe.tune_binary.what();
            block.layer(l).parameters(b, block.layer_name(l), train, binary);
            append(report.tune_binary_curve,
                   tune_block(b, block, std::move(binary), train, data, recipe.tune_binary, "tune layer", watcher));
            phases.end(b, "tune");
            harden_layer(l);
        }
    } else {
        std::size_t done = 0;
        std::mutex reporting;
        for_each_on_streams(b, total, recipe.layers_at_once, [&](const auto& stream, index i) {
            const index l = order[static_cast<std::size_t>(i)];
            factorize_layer(stream, l);
            const std::lock_guard lock(reporting);
            report_step(watcher, "factorize", ++done, order.size(),
                        report.layers[static_cast<std::size_t>(l)].factor_error);
        });
        phases.end(b, "factorize");
        for (const index l : order)
            install_layer(l);
        phases.end(b, "install");
        report.factor_error = block_error(b, block, data);
        phases.end(b, "measure");
        const auto train = recipe.tune_binary.what();
        std::vector<parameter<S>> binary;
        block.parameters(b, "", train, binary);
        observe(std::size_t{0});
        append(report.tune_binary_curve, tune_block(b, block, std::move(binary), train, data, recipe.tune_binary,
                                                    "tune block", watcher, observe));
        phases.end(b, "tune");
        for (const index l : order)
            harden_layer(l);
    }
    report.tuned_error = block_error(b, block, data);
    phases.end(b, "measure");
    report.phases = phases.seconds();
    report.seconds = seconds_since(begin);
    return report;
}

}  // namespace subbit
