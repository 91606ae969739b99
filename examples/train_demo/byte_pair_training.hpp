// Learns a byte-level BPE tokenizer from a text.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace train_demo {

/// A tokenizer.json of the GPT-2 kind with `vocabulary` entries: the 256 bytes, the merges that are most frequent in
/// `text` one after the other (of equals the one whose parts came first), and the special token `end_of_text`, the
/// last. value_error if the text has too few pairs, or the vocabulary no room for the bytes and the special token.
nlohmann::ordered_json train_byte_pairs(std::string_view text, std::size_t vocabulary, const std::string& end_of_text);

}  // namespace train_demo
