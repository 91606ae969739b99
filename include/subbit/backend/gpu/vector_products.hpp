// Packed products of up to 16 vectors: launches of packed_vectors.hpp.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/packed_vectors.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace subbit::gpu {

/// All outputs, which have the same number of vectors, in as few launches as their number allows.
template <class Device, class Source, class Out>
void vector_products(const gpu_backend<Device>& b, std::span<const vector_output<Source, Out>> outputs) {
    using kernel = packed_vectors_kernel<Source, Out>;
    // Of blocks that a GPU has all at once, each may have as many warps as a multiprocessor keeps busy; of more, half
    // of that, so that two are there at a time. The number of units of the columns needs no more.
    constexpr index few_blocks = 160;
    constexpr int most_warps = kernel::product::most_warps;
    for (std::size_t first = 0; first < outputs.size(); first += outputs_at_once) {
        kernel k;
        index blocks = 0, widest = 0;
        for (std::size_t o = first; o < std::min(outputs.size(), first + outputs_at_once); ++o) {
            if (outputs[o].Y.size() == 0) continue;
            k.vectors = static_cast<int>(outputs[o].Y.rows);
            k.outputs[k.count] = outputs[o];
            k.first_block[k.count++] = static_cast<int>(blocks);
            blocks += (outputs[o].Y.cols + strip_rows - 1) / strip_rows;
            for (int p = 0; p < outputs[o].part_count; ++p)
                widest = std::max(widest, outputs[o].parts[p].bits.cols());
        }
        if (blocks == 0) continue;
        const index units = (widest + kernel::product::unit - 1) / kernel::product::unit;
        const int warps =
            static_cast<int>(std::clamp<index>(units, 1, blocks <= few_blocks ? most_warps : most_warps / 2));
        const int threads = warps * warp_size;
        b.launch({blocks, threads, kernel::product::shared_bytes(k.vectors, threads)}, k);
    }
}

/// What packed_products() does, for up to most_vectors vectors.
template <class Device, class In, class Out>
void products_of_vectors(const gpu_backend<Device>& b, std::span<const packed_output<In, Out, float>> outputs) {
    using source = scaled_vectors<In>;
    std::vector<vector_output<source, Out>> products;
    for (const auto& output : outputs) {
        vector_output<source, Out>& product = products.emplace_back();
        product.part_count = output.part_count;
        for (int p = 0; p < output.part_count; ++p) {
            const auto& part = output.parts[p];
            product.parts[p] = {part.bits, source(part.X, part.pre), part.post};
        }
        product.bias = output.bias;
        product.Y = output.Y;
        product.alpha = output.alpha;
        product.beta = output.beta;
    }
    vector_products(b, std::span<const vector_output<source, Out>>(products));
}

}  // namespace subbit::gpu
