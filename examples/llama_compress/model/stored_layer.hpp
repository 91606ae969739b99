// A block's linear layer in a file of a compressed model: low-rank or residual, whichever is there.
#pragma once

#include <subbit/io/packed_layer.hpp>
#include <subbit/recon/linear_layer.hpp>

#include <string>

namespace llama {

/// True where the file holds a compressed form of the layer.
inline bool holds_compressed_layer(const subbit::safetensors_reader& file, const std::string& name) {
    return subbit::holds_packed_layer(file, name) || subbit::holds_residual_layer(file, name);
}

/// The compressed layer, frozen; format_error or shape_error naming the tensor where something does not fit.
template <class S>
subbit::linear_layer<S> read_compressed_layer(const subbit::safetensors_reader& file, const std::string& name) {
    if (subbit::holds_residual_layer(file, name)) {
        subbit::residual_linear<S> residual;
        residual.layer = subbit::read_residual_layer<S>(file, name);
        return residual;
    }
    subbit::binary_linear<S> binary;
    binary.layer = subbit::read_packed_layer<S>(file, name);
    return binary;
}

template <class S>
void add_compressed_layer(subbit::safetensors_writer& file, const std::string& name,
                          const subbit::linear_layer<S>& layer, subbit::scale_format scales) {
    layer.visit_compressed([&](const auto& compressed) { add_packed_layer(file, name, compressed.layer, scales); });
}

}  // namespace llama
