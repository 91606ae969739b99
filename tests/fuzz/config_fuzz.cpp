// libFuzzer: the bytes are a config.json. Either a subbit::error is thrown, or the description of the model is sound:
// all its names, shapes and frequencies can be used.
#include "model/model_config.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

void require(bool good) {
    if (!good) std::abort();
}

void check(const llama::model_config& c) {
    require(c.num_hidden_layers == std::ssize(c.blocks) && c.num_attention_heads % c.num_key_value_heads == 0);
    require(std::isfinite(c.attention_scale) && std::isfinite(c.embedding_scale) && c.head_dim % 2 == 0);
    for (const auto& rule : c.rotary)
        for (const llama::index j : {llama::index{0}, c.head_dim / 2 - 1})
            require(rule.frequency(j, c.head_dim) >= 0);
    for (const auto& block : c.blocks) {
        require(block.attention.rotary < c.rotary.size() && block.attention.span >= 0);
        require(block.turns().size() == llama::layer_count);
        for (const auto& linear : block.linears)
            require(linear.shape.rows > 0 && linear.shape.cols > 0 && linear.stored_rows() >= linear.shape.rows &&
                    !linear.stored_name().empty());
        for (const auto& norm : block.norms)
            require(norm.size > 0 && !norm.name.empty());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const std::string_view text(reinterpret_cast<const char*>(data), size);
        const auto config = llama::parse_model_config(subbit::parse_json(text, "fuzz"), "fuzz");
        check(config);
        // Thousands of blocks are checked, but not kept to be mutated: they take long, and show no more than a few do.
        if (config.num_hidden_layers > 32) return -1;
    } catch (const subbit::error&) {
    }
    return 0;
}
