// Tokens that are taken out of a text as they are written, before it is cut into words.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

struct added_token {
    std::string text;  ///< as it stands in a text
    std::int32_t id;
    bool single_word;     ///< only where no word character stands beside it
    bool lstrip, rstrip;  ///< takes the white space before or after it
    bool special;
};

/// Finds added tokens: the leftmost, of those that begin there the longest, and of equals the first of the list.
class added_token_finder {
  public:
    added_token_finder() = default;
    explicit added_token_finder(std::vector<added_token> tokens);

    /// Hands over, in order, what lies between the added tokens of `text` and their ids. With `specials` false those
    /// that are special are left to the text.
    void find(std::string_view text, bool specials, const std::function<void(std::string_view plain)>& between,
              const std::function<void(std::int32_t id)>& token) const;

  private:
    const added_token* longest_at(std::string_view text) const;

    std::vector<added_token> tokens_;        // sorted by text
    std::array<bool, 256> is_first_byte_{};  // of any
};

}  // namespace llama
