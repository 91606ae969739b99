// Bytes as printable characters: the alphabet of byte-level vocabularies.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llama {

/// Every byte of `bytes` as its letter: those that are printable in Latin-1 as themselves, the other 68 as the code
/// points from 256 on.
std::string letters_of(std::string_view bytes);

/// The bytes that letters (valid UTF-8) stand for; nothing if there is a character outside the alphabet.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace llama
