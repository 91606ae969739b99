// The tokens around a text, above all the one that begins it (BOS).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace llama {

struct surrounding_tokens {
    std::vector<std::int32_t> before, after;
};

/// The tokens that the post_processor of a tokenizer.json puts around a single text: TemplateProcessing, ByteLevel
/// (none), sequences of these; null means none. format_error beginning with `where` for anything else.
surrounding_tokens parse_post_processor(const nlohmann::json& value, const std::string& where);

}  // namespace llama
