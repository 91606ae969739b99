// Added tokens: they are found in a text by their literal names, before it is cut into words.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

struct added_token {
    std::string text;  ///< as it is written in a text
    std::int32_t id;
    bool single_word;     ///< matches only between characters that are not word characters
    bool lstrip, rstrip;  ///< includes the white space before or after it
    bool special;
};

/// Finds added tokens: the leftmost; of those that begin at the same place the longest; of equal ones the first in the
/// list.
class added_token_finder {
  public:
    added_token_finder() = default;
    explicit added_token_finder(std::vector<added_token> tokens);

    /// Passes on, in order, the ids of the added tokens of `text` and the text between them. With `specials` false,
    /// special tokens are treated as text.
    void find(std::string_view text, bool specials, const std::function<void(std::string_view plain)>& between,
              const std::function<void(std::int32_t id)>& token) const;

  private:
    const added_token* longest_at(std::string_view text) const;

    std::vector<added_token> tokens_;        // sorted by text
    std::array<bool, 256> is_first_byte_{};  // of any
};

}  // namespace llama
