// The tokens around a text: above all the one that begins it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace llama {

struct surrounding_tokens {
    std::vector<std::int32_t> before, after;
};

/// What a tokenizer.json's post_processor puts around a single text: TemplateProcessing, ByteLevel (nothing), sequences
/// of these; null is nothing. format_error beginning with `where` for anything else.
surrounding_tokens parse_post_processor(const nlohmann::json& value, const std::string& where);

}  // namespace llama
