// The first step of reconstruction in a joint order: the layers of a block are factorized, or, by several ranks, those
// of several blocks together, which the ranks can share out more evenly than those of one.
#pragma once

#include <subbit/backend/jobs/streams.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/distribute/exchange.hpp>
#include <subbit/distribute/shares.hpp>
#include <subbit/factor/rank_budget.hpp>
#include <subbit/recon/compressor.hpp>
#include <subbit/recon/layer_bytes.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

/// The order in which a block's layers are factorized: the given one, or if it is empty the order of storage.
/// value_error unless it names each of the `total` layers once.
inline std::vector<index> checked_layer_order(std::vector<index> given, index total) {
    std::vector<index> stored(static_cast<std::size_t>(total));
    std::iota(stored.begin(), stored.end(), index{0});
    if (given.empty()) return stored;
    if (!std::is_permutation(given.begin(), given.end(), stored.begin(), stored.end()))
        throw value_error("block reconstruction: the layer order does not name each of the block's " +
                          std::to_string(total) + " layers once");
    return given;
}

/// What factorizing each layer costs, in a unit of its own: a layer (m, n) about (mn)^2 / (m + n), since its rank grows
/// with mn / (m + n).
inline std::vector<double> factorization_costs(std::span<const layer_shape> layers) {
    std::vector<double> costs;
    for (const auto& [m, n] : layers) {
        const auto weights = static_cast<double>(m) * static_cast<double>(n);
        costs.push_back(weights * (weights / static_cast<double>(m + n)));
    }
    return costs;
}

/// The layers of a block after their factorization, on the host. Each belongs to one rank, which has it alone until
/// share().
template <class S>
struct factorized_block {
    std::vector<int> owners;
    std::vector<compressed_layer<S>> layers;
    std::vector<double> seconds;  ///< that each took

    explicit factorized_block(std::vector<int> its_owners)
        : owners(std::move(its_owners)), layers(owners.size()), seconds(owners.size()) {}

    /// Makes layer l of the weight (m, n) that take_weight(b, l) gives on the host.
    template <class B, class F>
    void factorize(const B& b, const compressor_reference<B, S>& compressor, index l, const F& take_weight) {
        using clock = std::chrono::steady_clock;
        const auto begin = clock::now();
        const auto at = static_cast<std::size_t>(l);
        const matrix<S> weight = take_weight(b, l);
        layers[at] = compressor.factorize(b, l, const_view(weight));
        seconds[at] = std::chrono::duration<double>(clock::now() - begin).count();
    }

    /// Every rank gets the layers of the others.
    void share(const communicator& ranks) {
        if (ranks.is_alone()) return;
        for (std::size_t l = 0; l < layers.size(); ++l) {
            byte_writer message;
            const bool is_mine = owners[l] == ranks.rank();
            if (is_mine) {
                put(message, layers[l].layer);
                message.put(layers[l].error);
                message.put(seconds[l]);
            }
            broadcast_all(ranks, message.bytes(), owners[l]);
            if (is_mine) continue;
            byte_reader read(message.bytes());
            get(read, layers[l].layer);
            read.get(layers[l].error);
            read.get(seconds[l]);
        }
    }
};

/// A block whose layers are to be factorized.
template <class B, class S>
struct block_to_factorize {
    compressor_reference<B, S> compressor;
    std::vector<layer_shape> layers;
    /// A layer's weight (m, n) on the host, which is asked for once, by the thread of the stream that factorizes it.
    std::function<matrix<S>(const B& stream, index l)> take_weight;
};

/// The options of factorize_blocks.
struct factorize_options {
    std::vector<index> layer_order = {};  ///< of every block; empty: the order of storage
    int layers_at_once = 4;               ///< number factorized side by side, if the backend has streams
    progress& watcher = unwatched();      ///< told after each of this rank's layers, with the layer's error
    const communicator& ranks = this_process_alone();  ///< those that share the layers out
};

/// The number of blocks that `ranks` factorize together, of blocks with these layers: the fewest, at most one for
/// each rank, of which no rank's part takes more than 5 % longer than the mean.
inline index blocks_at_once(std::span<const layer_shape> layers, int ranks) {
    constexpr double most = 1.05;
    const auto costs = factorization_costs(layers);
    std::vector<double> all;
    for (index blocks = 1; blocks < ranks; ++blocks) {
        all.insert(all.end(), costs.begin(), costs.end());
        if (unevenness(all, ranks) <= most) return blocks;
    }
    return ranks;
}

/// Factorizes the layers of blocks, of which every rank does its part, and keeps it.
template <class B, class S>
std::vector<factorized_block<S>> factorize_blocks(const B& b, std::span<const block_to_factorize<B, S>> blocks,
                                                  const factorize_options& options) {
    std::vector<layer_shape> layers;
    for (const auto& block : blocks)
        layers.insert(layers.end(), block.layers.begin(), block.layers.end());
    const auto owners = owners_by_cost(factorization_costs(layers), options.ranks.size());
    std::vector<factorized_block<S>> results;
    std::vector<std::pair<std::size_t, index>> mine;  // blocks and layers
    auto first = owners.begin();
    for (const auto& block : blocks) {
        const auto last = first + std::ssize(block.layers);
        for (const index l : checked_layer_order(options.layer_order, last - first))
            if (first[l] == options.ranks.rank()) mine.emplace_back(results.size(), l);
        results.emplace_back(std::vector<int>(first, last));
        first = last;
    }
    std::size_t done = 0;
    std::mutex reporting;
    for_each_on_streams(b, std::ssize(mine), options.layers_at_once, [&](const B& stream, index i) {
        const auto [block, l] = mine[static_cast<std::size_t>(i)];
        results[block].factorize(stream, blocks[block].compressor, l, blocks[block].take_weight);
        const std::lock_guard lock(reporting);
        report_step(options.watcher, "factorize", ++done, mine.size(),
                    results[block].layers[static_cast<std::size_t>(l)].error);
    });
    return results;
}

}  // namespace subbit
