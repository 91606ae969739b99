// Cuts a text into words, which byte pair encoding then processes one by one.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace llama {

/// A part of a text, never empty.
struct word {
    std::string_view text;
    bool starts_text;  ///< true for the part at the beginning of the original text
};

/// Receives words one by one; a word's text is valid during the call.
using word_sink = std::function<void(const word&)>;

/// Cuts a word into words, perhaps changing their letters.
using pre_tokenizer = std::function<void(const word&, const word_sink&)>;

/// The pre-tokenizer of a tokenizer.json: ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace,
/// WhitespaceSplit, and sequences of these; null leaves the text as one word. format_error beginning with `where` for
/// anything else.
pre_tokenizer parse_pre_tokenizer(const nlohmann::json& value, const std::string& where);

}  // namespace llama
