#include "model/model_tensors.hpp"

#include "model/stored_layer.hpp"

#include <algorithm>
#include <set>

namespace llama {

namespace {

using subbit::safetensors_reader;

/// Adds the names of what the file holds of a linear layer, dense or compressed.
void add_layer(std::set<std::string>& names, const safetensors_reader& file, const std::string& prefix,
               const linear_spec& spec) {
    if (holds_compressed_layer(file, prefix + spec.name)) {
        for (auto& name : subbit::packed_layer_tensors(file, prefix + spec.name))
            names.insert(std::move(name));
        return;
    }
    names.insert(prefix + spec.stored_name() + ".weight");
    if (spec.bias) names.insert(prefix + spec.stored_name() + ".bias");
}

std::set<std::string> block_tensors(const model_config& config, const safetensors_reader& file,
                                    subbit::unit_range blocks) {
    std::set<std::string> names;
    for (index l = blocks.first; l < blocks.last; ++l) {
        for (const auto& spec : config.block(l).linears)
            add_layer(names, file, block_prefix(l), spec);
        for (const auto& spec : config.block(l).norms)
            names.insert(block_prefix(l) + spec.name);
    }
    return names;
}

}  // namespace

bool is_harmless_buffer(const std::string& name) {
    for (const char* end :
         {"rotary_emb.inv_freq", "rotary_emb.original_inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached",
          "attn.masked_bias", "attn.mask", "attention_mask", "causal_mask", "position_ids"})
        if (name.ends_with(end)) return true;
    return false;
}

namespace {

/// A tied model has one matrix for both ends; a file may hold it twice, but not two different ones.
void require_tied_head(const model_config& config, const safetensors_reader& tensors) {
    if (!config.tie_word_embeddings || !tensors.contains(config.head_name)) return;
    const auto &head = tensors.info(config.head_name), &embedding = tensors.info(config.embedding_name);
    if (head.type == embedding.type && std::ranges::equal(head.bytes, embedding.bytes)) return;
    throw subbit::format_error("tensor \"" + config.head_name + "\" (" + subbit::shape_text(head.shape) +
                               ") is not the same as \"" + config.embedding_name +
                               "\", expected so where tie_word_embeddings is true");
}

}  // namespace

void use_stored_embedding(model_config& config, const safetensors_reader& tensors) {
    if (config.tie_word_embeddings && !tensors.contains(config.embedding_name) && tensors.contains(config.head_name))
        config.embedding_name = config.head_name;
}

void require_known_tensors(const model_config& config, const safetensors_reader& tensors) {
    require_tied_head(config, tensors);
    if (!config.tie_word_embeddings && !tensors.contains(config.head_name))
        throw subbit::format_error("no tensor \"" + config.head_name +
                                   "\", expected one where config.json does not say \"tie_word_embeddings\": true");
    const auto of_blocks = block_tensors(config, tensors, {0, config.num_hidden_layers});
    for (const auto& name : tensors.names()) {
        const bool outer = name == config.embedding_name || name == config.final_norm_name || name == config.head_name;
        if (outer || of_blocks.contains(name) || is_harmless_buffer(name)) continue;
        throw subbit::format_error("tensor \"" + name + "\" (" + subbit::shape_text(tensors.info(name).shape) +
                                   ") has no place in a model of type " + config.model_type + " with " +
                                   std::to_string(config.num_hidden_layers) +
                                   " blocks as config.json describes it; without it the model would be another");
    }
}

std::vector<std::string> carried_tensors(const model_config& config, const safetensors_reader& tensors,
                                         subbit::unit_range blocks) {
    auto left_out = block_tensors(config, tensors, blocks);
    if (config.tie_word_embeddings && config.head_name != config.embedding_name) left_out.insert(config.head_name);
    std::vector<std::string> names;
    std::copy_if(tensors.names().begin(), tensors.names().end(), std::back_inserter(names),
                 [&](const std::string& name) { return !left_out.contains(name); });
    return names;
}

}  // namespace llama
