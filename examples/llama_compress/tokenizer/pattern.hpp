// The patterns that a tokenizer's steps search for: a regular expression, a string, or characters of a class.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;  // PCRE2's compiled pattern

namespace llama {

/// Receives the ranges into which a pattern cuts a text, in order: matches, and the text between them. Matches may be
/// empty.
using range_sink = std::function<void(std::size_t begin, std::size_t end, bool is_match)>;

/// Cuts a text (valid UTF-8) into matches and the rest.
using pattern = std::function<void(std::string_view text, const range_sink& sink)>;

/// A regular expression with Unicode properties; format_error beginning with `where` if it is invalid. Matching throws
/// format_error if it exceeds its limits.
pattern regex_pattern(const std::string& expression, const std::string& where);

/// The text itself, letter by letter.
pattern text_pattern(const std::string& text, const std::string& where);

/// Every character of a class is a match.
pattern character_pattern(std::function<bool(std::int32_t)> is_match);

/// Exchanges matches and the rest.
pattern inverted(pattern inner);

/// `text` with every match replaced by `content`.
std::string replaced(std::string_view text, const pattern& what, std::string_view content);

}  // namespace llama
