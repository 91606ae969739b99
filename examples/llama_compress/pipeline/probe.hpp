// Looks at how the paths of residual layers work together while they are trained: entries of the report.
#pragma once

#include "../model/model_directory.hpp"

#include <subbit/recon/path_diagnostics.hpp>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace llama {

/// The signs of every layer of a block, to count flips against.
using block_signs = std::array<std::vector<subbit::bit_matrix>, layer_count>;

inline block_signs signs_of(const block<float>& blk) {
    block_signs signs;
    for (std::size_t k = 0; k < layer_count; ++k)
        signs[k] = blk.layers[k].visit_compressed([](const auto& compressed) { return compressed.signs(); });
    return signs;
}

/// Runs residual layers on a few windows X (T, d), which become the block's outputs, and compares their paths with what
/// the original block's weights make of the same inputs: one list a quantity, one number a layer.
template <class B>
nlohmann::json probe_block(const B& b, const block<float>& blk, const std::vector<matrix<float>>& originals,
                           const block_signs& first_signs, index window, matrix<float>& X) {
    block_tape<float> tape;
    matrix<float> Y(X.rows(), X.cols());
    blk.forward(b, const_view(X), window, subbit::view(Y), tape);
    X.swap(Y);
    nlohmann::json entry;
    for (std::size_t k = 0; k < layer_count; ++k) {
        const auto& layer = blk.layers[k].residual();
        const auto d =
            subbit::diagnose_paths(b, layer, const_view(originals[k]), const_view(block<float>::input_of(tape, k)));
        entry["correlation"].push_back(d.correlation);
        entry["alignment"].push_back(d.alignment);
        entry["error"].push_back(d.error);
        entry["error_by_correlation"].push_back(d.by_correlation);
        entry["error_by_alignment"].push_back(d.by_alignment);
        entry["signs_flipped"].push_back(subbit::share_flipped(first_signs[k], layer.signs()));
    }
    return entry;
}

/// The dense weights of a block of the original.
inline std::vector<matrix<float>> weights_of(const block<float>& original) {
    std::vector<matrix<float>> weights;
    for (const auto& layer : original.layers)
        weights.push_back(layer.dense().weight);
    return weights;
}

}  // namespace llama
