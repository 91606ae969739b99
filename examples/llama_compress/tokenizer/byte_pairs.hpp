// Byte pair encoding of one word.
#pragma once

#include "tokenizer/vocabulary.hpp"

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

/// The tokens into which pairs of tokens merge: a hash table in one piece of memory, since lookups take most of the
/// time.
class merge_table {
  public:
    struct merge {
        std::int32_t rank;
        std::int32_t result;
    };

    explicit merge_table(std::size_t count);
    /// If a pair is put twice, the last merge counts; at most `count` pairs.
    void put(std::int32_t left, std::int32_t right, merge what);
    /// Null if the pair does not merge.
    const merge* find(std::int32_t left, std::int32_t right) const {
        const slot& found = slots_[place(left, right)];
        return found.left < 0 ? nullptr : &found.what;
    }

  private:
    struct slot {
        std::int32_t left = -1, right = -1;  // -1: empty
        merge what{};
    };
    /// The place of the pair, or the place where it would be put.
    std::size_t place(std::int32_t left, std::int32_t right) const;

    std::vector<slot> slots_;  // a power of two, at least twice the pairs
};

class byte_pairs {
  public:
    /// Reads a tokenizer.json's model, whose tokens are in `tokens`; format_error beginning with `where` if it is not
    /// byte pair encoding, or has dropout or marks within words.
    byte_pairs(const nlohmann::json& model, const vocabulary& tokens, const std::string& where);

    /// Appends the ids of a word. `tokens` must be those of the constructor. A character that is neither in the
    /// vocabulary nor covered by its bytes is left out, if there is no token for unknown characters, as in the usual
    /// library; `left_out` collects these.
    void encode(const vocabulary& tokens, std::string_view word, std::vector<std::int32_t>& ids,
                std::set<std::string>& left_out) const;

  private:
    struct symbol {
        std::int32_t id;  // -1 once it has been merged into its left neighbour
        std::int32_t left, right;
    };
    void read_merges(const nlohmann::json& list, const vocabulary& tokens, const std::string& where);
    std::vector<symbol> characters(const vocabulary& tokens, std::string_view word,
                                   std::set<std::string>& left_out) const;
    void merge_all(std::vector<symbol>& symbols) const;
    std::int32_t id_of_character(const vocabulary& tokens, std::string_view character) const;

    merge_table merges_{0};
    std::vector<std::int32_t> characters_;                // ids of the first code points; -1: not a token
    std::optional<std::array<std::int32_t, 256>> bytes_;  // with byte_fallback; -1: not there
    std::optional<std::int32_t> unknown_;
    bool fuse_unknown_ = false, ignore_merges_ = false;
};

}  // namespace llama
