#include "model/tensor_values.hpp"

#include <subbit/core/error.hpp>

#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <set>
#include <string>

namespace llama {

namespace {

using subbit::safetensors_reader;

constexpr float most_of_layers = 65504, most_of_others = 1e18F;

void fail(const std::string& name, const subbit::tensor_info& tensor, float value, float most) {
    const std::string what = "tensor \"" + name + "\" (" + subbit::shape_text(tensor.shape) + ")";
    if (!std::isfinite(value)) throw subbit::value_error(what + " has entries that are not finite");
    throw subbit::value_error(
        fmt::format("{} has the entry {}, expected none beyond {}: its values cannot be held", what, value, most));
}

/// Fails unless all numbers of a tensor lie within `most`; tensors of other shapes are left to those who read them.
void check(const safetensors_reader& tensors, const std::string& name, float most) {
    if (!tensors.contains(name)) return;
    const auto& tensor = tensors.info(name);
    if (!subbit::is_floating(tensor.type)) return;
    const auto look = [&](std::span<const float> values) {
        const auto bad = std::find_if(values.begin(), values.end(), [&](float x) { return !(std::abs(x) <= most); });
        if (bad != values.end()) fail(name, tensor, *bad, most);
    };
    if (tensor.shape.size() == 2)
        tensors.for_each_row<float>(name, [&](index, std::span<const float> row) { look(row); });
    if (tensor.shape.size() == 1) {
        const auto values = tensors.read_vector<float>(name);
        look({values.data(), static_cast<std::size_t>(values.size())});
    }
}

}  // namespace

void require_usable_values(const model_config& config, const safetensors_reader& tensors) {
    for (const auto& name : {config.embedding_name, config.final_norm_name, config.head_name})
        check(tensors, name, most_of_others);
    std::set<std::string> seen;  // of layers that share a tensor
    for (index l = 0; l < config.num_hidden_layers; ++l) {
        for (const auto& spec : config.block(l).norms)
            check(tensors, block_prefix(l) + spec.name, most_of_others);
        for (const auto& spec : config.block(l).linears)
            if (const std::string name = block_prefix(l) + spec.stored_name(); seen.insert(name).second)
                for (const char* part : {".weight", ".bias"})
                    check(tensors, name + part, most_of_layers);
    }
}

}  // namespace llama
