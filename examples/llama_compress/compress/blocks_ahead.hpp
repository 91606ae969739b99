// The layers of the next blocks, which several ranks factorize together.
#pragma once

#include "compress/compressor.hpp"
#include "compress/recipe.hpp"
#include "model/model_directory.hpp"

#include <subbit/recon/factorize_blocks.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace llama {

/// Blocks whose layers are factorized before their turn, since the ranks share out the layers of a few blocks more
/// evenly than those of one (subbit::blocks_at_once). A rank keeps its own layers until the block's turn, in memory: an
/// interrupted run makes them again.
template <class B>
class blocks_ahead {
  public:
    struct settings {
        const compress_options& options;
        subbit::unit_range range;  ///< the blocks to compress
        subbit::progress& watcher;
        const subbit::communicator& ranks;
        std::function<block_compressor<B>(index)> compressor_of;
    };

    blocks_ahead(const B& b, const model_directory& model, settings s)
        : b_(b),
          model_(model),
          settings_(std::move(s)),
          together_(blocks_at_once(settings_.options, model.config().block(0), settings_.ranks.size())) {}

    /// Factorizes this rank's layers of block l and of the blocks that are shared out with it; nothing where that is
    /// done, or where a block is shared out by itself.
    void factorize(index l) {
        if (together_ == 1 || waiting_.contains(l)) return;
        const index first = settings_.range.first;
        const index last = std::min(first + ((l - first) / together_ + 1) * together_, settings_.range.last);
        std::vector<block_compressor<B>> compressors;
        compressors.reserve(static_cast<std::size_t>(last - l));
        std::vector<subbit::block_to_factorize<B, float>> blocks;
        for (index k = l; k < last; ++k) {
            const auto& schema = model_.config().block(k);
            compressors.push_back(settings_.compressor_of(k));
            blocks.push_back({compressors.back(), schema.shapes(), [&, k](const B&, index layer) {
                                  return weight_of(k, schema.linears[static_cast<std::size_t>(layer)]);
                              }});
        }
        const auto recipe = block_recipe_of(settings_.options, model_.config().block(l), l);
        auto results = subbit::factorize_blocks<B, float>(
            b_, blocks, {.layer_order = recipe.layer_order, .watcher = settings_.watcher, .ranks = settings_.ranks});
        for (auto& block : results)
            waiting_.emplace(l++, std::move(block));
    }

    /// The layers of block l; nothing where the block is to factorize them itself.
    std::optional<subbit::factorized_block<float>> take(index l) {
        auto found = waiting_.extract(l);
        if (found.empty()) return {};
        return std::move(found.mapped());
    }

  private:
    /// The original's weight (m, n); what was read of the file does not stay in memory.
    matrix<float> weight_of(index block, const linear_spec& spec) const {
        auto layer = model_.load_linear<float>(block, spec);
        model_.tensors().release();
        return std::move(layer.dense().weight);
    }

    const B& b_;
    const model_directory& model_;
    settings settings_;
    index together_;
    std::map<index, subbit::factorized_block<float>> waiting_;  // by the block's number
};

}  // namespace llama
