// Learns a byte-level BPE tokenizer from a text.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace train_demo {

/// A tokenizer.json as GPT-2's with `vocabulary` entries: the 256 bytes; the merges, each the most frequent pair of
/// `text` at that point (of several, the pair whose parts have the lowest ids); and last the special token
/// `end_of_text`. value_error if the text has too few pairs, or the vocabulary is too small for the bytes and the
/// special token.
nlohmann::ordered_json train_byte_pairs(std::string_view text, std::size_t vocabulary, const std::string& end_of_text);

}  // namespace train_demo
