// The cut of a text into the words that byte pair encoding then works on one by one.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace llama {

/// A part of a text, never empty.
struct word {
    std::string_view text;
    bool starts_text;  ///< nothing of the original text lies before it
};

/// Takes words one by one; a word's text is good during the call.
using word_sink = std::function<void(const word&)>;

/// Cuts a word into words, perhaps changing their letters.
using pre_tokenizer = std::function<void(const word&, const word_sink&)>;

/// What a tokenizer.json's pre_tokenizer stands for: ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace,
/// WhitespaceSplit, and sequences of these; null leaves a text whole. format_error beginning with `where` for anything
/// else.
pre_tokenizer parse_pre_tokenizer(const nlohmann::json& value, const std::string& where);

}  // namespace llama
