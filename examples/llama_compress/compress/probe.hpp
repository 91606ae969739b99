// Measures, for the report, how the paths of residual layers work together while they are trained.
#pragma once

#include "model/model_directory.hpp"

#include <subbit/recon/path_diagnostics.hpp>
#include <subbit/recon/sign_flips.hpp>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace llama {

/// The signs of every layer of a block, to count later flips.
using block_signs = per_linear<std::vector<subbit::bit_matrix>>;

template <class B>
block_signs signs_of(const B& b, const block<float, memory_of<B>>& blk) {
    block_signs signs;
    for (std::size_t k = 0; k < layer_count; ++k)
        signs[k] = blk.layers[k].visit_compressed([&](const auto& compressed) { return compressed.signs(b); });
    return signs;
}

/// Runs a block on a few windows X (T, d), which become the block's outputs, and compares each layer's paths with the
/// outputs of the original weight for the same inputs: a list for each quantity, a number for each layer. The
/// comparison runs on `host`.
template <class B, class Host>
nlohmann::json probe_block(const B& b, const Host& host, const block<float, memory_of<B>>& blk,
                           const std::vector<matrix<float>>& originals, const block_signs& first_signs, index window,
                           matrix_in<float, memory_of<B>>& X) {
    using block_type = block<float, memory_of<B>>;
    typename block_type::tape tape;
    auto Y = subbit::allocate<float>(b, view(X).rows, view(X).cols);
    blk.forward(b, const_view(X), window, view(Y), tape);
    std::swap(X, Y);
    nlohmann::json entry;
    for (std::size_t k = 0; k < layer_count; ++k) {
        const auto& layer = subbit::on_host(b, blk.layers[k].residual());
        const auto& inputs = subbit::on_host(b, block_type::input_of(tape, static_cast<linear_id>(k)));
        const auto d = subbit::diagnose_paths(host, layer, const_view(originals[k]), const_view(inputs));
        entry["correlation"].push_back(d.correlation);
        entry["alignment"].push_back(d.alignment);
        entry["error"].push_back(d.error);
        entry["error_by_correlation"].push_back(d.by_correlation);
        entry["error_by_alignment"].push_back(d.by_alignment);
        entry["signs_flipped"].push_back(subbit::share_flipped(first_signs[k], layer.signs(host)));
    }
    return entry;
}

/// The dense weights of a block of the original, on the host.
template <class B>
std::vector<matrix<float>> weights_of(const B& b, const block<float, memory_of<B>>& original) {
    std::vector<matrix<float>> weights;
    for (const auto& layer : original.layers)
        weights.push_back(subbit::on_host(b, layer.dense().weight));
    return weights;
}

}  // namespace llama
