// Block reconstruction (docs/method.md, section 11): a block's linear layers are replaced by compressed ones, which are
// tuned so that the block still maps the compressed prefix's activations to the original block's outputs.
#pragma once

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/distribute/exchange.hpp>
#include <subbit/recon/block_tuning.hpp>
#include <subbit/recon/compressor.hpp>
#include <subbit/recon/factorize_blocks.hpp>
#include <subbit/recon/sign_flips.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace subbit {

/// value_error naming the layer unless all of the block's layers are dense.
template <class Block>
void require_dense_layers(Block& block) {
    for (index l = 0; l < block.layer_total(); ++l)
        if (!block.layer(l).is_dense())
            throw value_error(std::string("block reconstruction: layer ") + block.layer_name(l) +
                              " is compressed already, expected a dense one");
}

/// All layers are factorized first, then tuned together.
struct joint_order {
    int layers_at_once = 4;  ///< number factorized side by side, if the backend has streams
};

/// The paper's order: one layer after the other is factorized and tuned.
struct layer_by_layer {
    /// Error-propagation mitigation before each layer, on the weights that are still dense; epochs = 0 skips it.
    phase_options tune_weights{.batch_windows = 4, .weights = learning_rate::absolute(1e-4)};
};

/// The order of a block's factorizations and phases, with what only that one has to set.
using reconstruction_order = std::variant<joint_order, layer_by_layer>;

/// How one block is reconstructed; the defaults are those of the program's tuned recipe (docs/numerics.md).
struct block_recipe {
    reconstruction_order order = joint_order{};
    std::vector<index> layer_order = {};  ///< the order of factorization; empty: the order of storage
    /// Straight-through refinement of latents, scales and biases, in either order.
    phase_options tune_binary{.latents = learning_rate::share_of_magnitude(0.025),
                              .scales = learning_rate::share_of_magnitude(0.0025),
                              .biases = learning_rate::share_of_magnitude(0.0025),
                              .final_fraction = 1e-4};
    bool keep_latents = false;                       ///< for a later phase that moves them
    scale_format stored_scales = scale_format::f16;  ///< by which the report counts the bits
};

/// The result for one layer.
struct layer_report {
    std::string name;
    index rows = 0, cols = 0;
    index rank = 0;   ///< of a low-rank layer
    index paths = 0;  ///< of a residual layer
    double bits_per_weight = 0;
    double factor_error = 0;  ///< preconditioned relative error after the factorization
    double tuned_error = 0;   ///< the same after tuning; it may rise: tuning lowers the block's error
    double flipped = 0;       ///< share of signs that tuning changed
    double seconds = 0;       ///< factorization
};

/// The result for one block.
struct block_report {
    std::vector<layer_report> layers;
    /// block_error after the (last) factorization, on the held-back windows, or on all where none is held back.
    double factor_error = 0;
    double tuned_error = 0;                   ///< the same of the hardened block
    tuning_curves tune_weights, tune_binary;  ///< of several phases: one after the other
    double seconds = 0;
    phase_seconds phases;  ///< of these seconds: "factorize", "install", "tune", "harden" and "measure"
};

/// The options of reconstruct_block, and its callbacks.
template <class B, class S>
struct reconstruct_options {
    compressor_reference<B, S> compressor;  ///< any layer_compressor, for instance an lb_compressor
    block_recipe recipe = {};
    progress& watcher = unwatched();
    /// Called with the number of finished epochs: before a joint phase with 0, then after each of its epochs.
    std::function<void(std::size_t)> after_epoch = {};
    /// In a joint order, the block's layers as factorize_blocks() has made them on all ranks: they are moved out of it
    /// in place of factorizing.
    factorized_block<S>* factorized = nullptr;
    /// Those that share out, in a joint order, the layers to factorize and to measure and the windows of a batch.
    const communicator& ranks = this_process_alone();
};

/// One block's reconstruction; reconstruct_block() drives it.
template <class B, class Block>
class block_reconstruction {
  public:
    using S = typename Block::scalar;

    block_reconstruction(const B& b, Block& block, const block_data<S>& data, const reconstruct_options<B, S>& options)
        : b_(b),
          block_(block),
          data_(data),
          options_(options),
          recipe_(options.recipe),
          order_(checked_layer_order(recipe_.layer_order, block.layer_total())),
          factorized_(owners_by_cost(factorization_costs(shapes_of(block)), options.ranks.size())),
          first_signs_(order_.size()) {
        report_.layers.resize(order_.size());
    }

    block_report run() {
        const auto begin = clock::now();
        std::visit([&](const auto& order) { reconstruct(order); }, recipe_.order);
        share_errors();
        report_.tuned_error = error();
        phases_.end(b_, "measure");
        report_.phases = phases_.seconds();
        report_.seconds = seconds_since(begin);
        return std::move(report_);
    }

  private:
    using clock = std::chrono::steady_clock;

    void reconstruct(const layer_by_layer& order) {
        for (const index l : order_) {
            if (order.tune_weights.epochs > 0) tune_dense_layers(order.tune_weights);
            phases_.end(b_, "tune");
            factorized_.factorize(b_, options_.compressor, l, weight_taker());
            phases_.end(b_, "factorize");
            install(l);
            phases_.end(b_, "install");
            if (l == order_.back()) measure_factorized();
            std::vector<parameter<S>> parameters;
            block_.layer(l).parameters(b_, block_.layer_name(l), recipe_.tune_binary.what(), parameters);
            try {
                tune(recipe_.tune_binary, std::move(parameters), "tune layer", report_.tune_binary);
            } catch (const divergence_error& e) {
                throw divergence_error(std::string(block_.layer_name(l)) + ": " + e.what());
            }
            phases_.end(b_, "tune");
            finish(l);
        }
    }

    void reconstruct(const joint_order& order) {
        factorize_all(order.layers_at_once);
        phases_.end(b_, "factorize");
        for (const index l : order_)
            install(l);
        phases_.end(b_, "install");
        measure_factorized();
        if (options_.after_epoch) options_.after_epoch(0);
        report_.tune_binary = tune_block(b_, block_, data_,
                                         {.phase = recipe_.tune_binary,
                                          .what = "tune block",
                                          .watcher = options_.watcher,
                                          .after_epoch = options_.after_epoch,
                                          .ranks = ranks()});
        phases_.end(b_, "tune");
        for (const index l : order_)
            finish(l);
    }

    /// Error-propagation mitigation: tunes the layers that are still dense, to compensate for the errors of the others.
    void tune_dense_layers(const phase_options& phase) {
        std::vector<parameter<S>> parameters;
        const auto visit_dense = [&](const auto& f) {
            for (index k = 0; k < block_.layer_total(); ++k)
                if (block_.layer(k).is_dense()) f(k);
        };
        visit_dense([&](index k) { block_.layer(k).parameters(b_, block_.layer_name(k), phase.what(), parameters); });
        tune(phase, std::move(parameters), "tune weights", report_.tune_weights);
        visit_dense([&](index k) { block_.layer(k).dense().d_weight = {}; });
    }

    void tune(const phase_options& phase, std::vector<parameter<S>> parameters, std::string_view what,
              tuning_curves& curves) {
        const auto more = tune_block(b_, block_, data_,
                                     {.phase = phase,
                                      .parameters = std::move(parameters),
                                      .what = what,
                                      .watcher = options_.watcher,
                                      .ranks = ranks()});
        curves.epochs.insert(curves.epochs.end(), more.epochs.begin(), more.epochs.end());
        curves.held_back.insert(curves.held_back.end(), more.held_back.begin(), more.held_back.end());
    }

    /// Factorizes the layers together with the other ranks, unless that is done already.
    void factorize_all(int layers_at_once) {
        if (options_.factorized) {
            factorized_ = std::move(*options_.factorized);
        } else {
            const block_to_factorize<B, S> whole{options_.compressor, shapes_of(block_), weight_taker()};
            factorized_ = std::move(factorize_blocks<B, S>(b_, {&whole, 1},
                                                           {.layer_order = order_,
                                                            .layers_at_once = layers_at_once,
                                                            .watcher = options_.watcher,
                                                            .ranks = ranks()})
                                        .front());
        }
        factorized_.share(ranks());
    }

    /// Every rank gets the errors that the others have measured.
    void share_errors() {
        std::vector<double> errors;
        for (const auto& layer : report_.layers)
            errors.push_back(layer.tuned_error);
        sum_all(ranks(), errors);  // each is zero on all ranks but one
        for (std::size_t l = 0; l < errors.size(); ++l)
            report_.layers[l].tuned_error = errors[l];
    }

    /// What moves a layer's weight (m, n) out of the block to the host.
    auto weight_taker() {
        return [this](const B& stream, index l) { return download(stream, std::move(block_.layer(l).dense().weight)); };
    }

    /// Puts the compressed layer in the place of the dense one.
    void install(index l) {
        auto& layer = block_.layer(l);
        auto bias = std::move(layer.dense().bias);
        layer = upload(b_, std::move(factorized_.layers[at(l)].layer));
        entry(l).factor_error = factorized_.layers[at(l)].error;
        entry(l).seconds = factorized_.seconds[at(l)];
        entry(l).name = block_.layer_name(l);
        layer.visit_compressed([&](auto& compressed) {
            compressed.layer.bias = std::move(bias);
            first_signs_[at(l)] = compressed.signs(b_);
            entry(l).rows = compressed.rows();
            entry(l).cols = compressed.cols();
            entry(l).bits_per_weight = compressed.layer.bits_per_weight(recipe_.stored_scales);
            if constexpr (requires { compressed.layer.rank(); })
                entry(l).rank = compressed.layer.rank();
            else
                entry(l).paths = compressed.layer.path_count();
        });
    }

    /// Of the whole block, as the report has it.
    double error() const { return block_error(b_, block_, data_.held_back > 0 ? data_.judging() : data_, ranks()); }
    void measure_factorized() {
        report_.factor_error = error();
        phases_.end(b_, "measure");
    }

    /// Finishes a layer: from now on it is what will be stored.
    void finish(index l) {
        auto& layer = block_.layer(l);
        layer.visit_compressed([&](auto& compressed) {
            entry(l).flipped = share_flipped(first_signs_[at(l)], compressed.signs(b_));
            compressed.harden(recipe_.keep_latents);
        });
        options_.compressor.finish(b_, l, layer);
        phases_.end(b_, "harden");
        if (is_mine(l)) entry(l).tuned_error = options_.compressor.measure(b_, l, layer);
        phases_.end(b_, "measure");
    }

    const communicator& ranks() const { return options_.ranks; }
    bool is_mine(index l) const { return factorized_.owners[at(l)] == ranks().rank(); }
    static std::vector<layer_shape> shapes_of(Block& block) {
        std::vector<layer_shape> shapes;
        for (index l = 0; l < block.layer_total(); ++l)
            shapes.push_back({block.layer(l).rows(), block.layer(l).cols()});
        return shapes;
    }

    static std::size_t at(index l) { return static_cast<std::size_t>(l); }
    layer_report& entry(index l) { return report_.layers[at(l)]; }

    static double seconds_since(clock::time_point start) {
        return std::chrono::duration<double>(clock::now() - start).count();
    }

    const B& b_;
    Block& block_;
    const block_data<S>& data_;
    const reconstruct_options<B, S>& options_;
    const block_recipe& recipe_;
    std::vector<index> order_;
    factorized_block<S> factorized_;                    // until the layers are put in place
    std::vector<std::vector<bit_matrix>> first_signs_;  // of every layer before it was tuned
    block_report report_;
    phase_clock phases_;
};

/// Replaces every linear layer of `block` by a compressed one; bits and scales are final when this returns.
///
/// Before anything is changed, throws shape_error for data whose shapes do not fit or where not all layers are
/// factorized, and value_error for an invalid layer order or a layer that is compressed already, naming it.
template <class B, class Block, class S = typename Block::scalar>
requires reconstruction_block<Block, B> block_report
reconstruct_block(const B& b, Block& block, const block_data<S>& data,
                  const std::type_identity_t<reconstruct_options<B, S>>& options) {
    data.check();
    require_dense_layers(block);
    if (options.factorized) {
        require_size("block reconstruction: factorized layers", std::ssize(options.factorized->layers),
                     block.layer_total());
        if (!std::holds_alternative<joint_order>(options.recipe.order))
            throw value_error("block reconstruction: layers that are factorized already need a joint order");
    }
    return block_reconstruction<B, Block>(b, block, data, options).run();
}

}  // namespace subbit
