// Bytes as printable characters: the alphabet of byte-level vocabularies.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace llama {

/// Every byte of `bytes` as its letter: bytes that are printable in Latin-1 are their own letters, the other 68 are
/// code points from 256 on.
std::string letters_of(std::string_view bytes);

/// The bytes of letters (valid UTF-8); nothing if there is a character outside the alphabet.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace llama
