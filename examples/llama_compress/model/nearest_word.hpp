// The word that someone may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llama {

/// The fewest letters to insert, delete or replace that make one word of the other; two neighbours that have changed
/// places count as one.
std::size_t letters_apart(std::string_view a, std::string_view b);

/// The known word nearest to `word`, or an empty one where none is near: more than a third of the letters would change.
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

/// "; the nearest is KNOWN", or an empty text.
std::string nearest_remark(std::string_view word, const std::vector<std::string>& known);

}  // namespace llama
