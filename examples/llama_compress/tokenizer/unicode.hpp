// Unicode's properties of characters and texts: classes, case, and the four normalization forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llama {

/// The property White_Space.
bool is_white_space(std::int32_t code_point);

/// Letters, marks, digits and what joins them: the class \w of regular expressions.
bool is_word_character(std::int32_t code_point);

/// The categories P*, and the other signs of ASCII.
bool is_punctuation(std::int32_t code_point);

/// The categories N*.
bool is_number(std::int32_t code_point);

/// `text` (valid UTF-8) in lower case, character by character.
std::string lower_case(std::string_view text);

enum class normalization_form { nfc, nfd, nfkc, nfkd };

/// `text` (valid UTF-8) in that form.
std::string normalized(std::string_view text, normalization_form form);

}  // namespace llama
