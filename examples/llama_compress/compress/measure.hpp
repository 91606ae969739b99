// The weighted error of a compressed layer.
#pragma once

#include "model/block.hpp"

#include <subbit/backend/train_operations.hpp>

#include <span>

namespace llama {

/// ||D (W - What) E||^2 / ||D W E||^2 (docs/method.md, eq. 12) with W (m,n), a copy that is overwritten, What the
/// weight of a compressed layer, and D and E the roots of the moments; empty moments are ones.
template <class B, class Layer>
double weighted_error(const B& b, matrix_in<float, memory_of<B>> W, const Layer& layer, const vector<float>& input,
                      const vector<float>& output) {
    auto difference = subbit::allocate<float>(b, layer.rows(), layer.cols());
    layer.expand(b, view(difference));
    subbit::axpby(b, 1, W, -1, difference);
    const auto columns = subbit::to_backend(b, input), rows = subbit::to_backend(b, vector<float>(output.cwiseSqrt()));
    for (auto* m : {&W, &difference})
        subbit::scale(b, *m, subbit::const_span(rows), std::span<const float>());
    const double norm = subbit::weighted_square(b, const_view(W), subbit::const_span(columns));
    return norm > 0 ? subbit::weighted_square(b, const_view(difference), subbit::const_span(columns)) / norm : 0;
}

}  // namespace llama
