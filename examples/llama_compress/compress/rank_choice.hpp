// Which rank each layer gets.
#pragma once

#include "compress/options.hpp"
#include "model/schema.hpp"

#include <nlohmann/json.hpp>
#include <vector>

namespace llama {

/// What compressing one layer alone costs the model, and the ranks at which that was measured.
struct rank_costs {
    std::vector<index> ranks;                ///< of a block's layers; the same for all blocks
    std::vector<per_linear<double>> losses;  ///< KL to the original in nats per token, for each compressed block
};

nlohmann::json to_json(const rank_costs& costs);
rank_costs rank_costs_from(const nlohmann::json& numbers);

/// The ranks of a block's layers for these options, zeros for a method without ranks; value_error if the bits are too
/// few. Where ranks follow the model's losses, these are the ranks at which the losses are measured.
std::vector<index> choose_ranks(const block_schema& block, const compress_options& options);

/// Whether no layer's rank can be higher, however many bits there are.
bool are_highest_ranks(const block_schema& block, const compress_options& options, const std::vector<index>& ranks);

/// The ranks of every compressed block's layers, within the same bits: the layers whose compression costs the model
/// more get more (docs/method.md, eq. 52).
std::vector<std::vector<index>> ranks_from_costs(const block_schema& block, const compress_options& options,
                                                 const rank_costs& costs);

}  // namespace llama
