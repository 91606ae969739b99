// The first step: changes a text before it is cut into words.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace llama {

/// A text that is being normalized.
struct normalized_text {
    std::string text;
    bool keeps_start = true;  ///< false once characters at the start were taken away
};

/// Changes a text (valid UTF-8, and so is the result).
using normalizer = std::function<void(normalized_text&)>;

/// The normalizer of a tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, ByteLevel, Sequence;
/// empty for null. format_error beginning with `where` for anything else.
normalizer parse_normalizer(const nlohmann::json& value, const std::string& where);

}  // namespace llama
