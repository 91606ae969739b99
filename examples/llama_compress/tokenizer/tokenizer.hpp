// Text to token ids and back: byte-level byte pair encoding, read from a tokenizer.json.
#pragma once

#include "tokenizer/pre_tokenizer.hpp"

#include <subbit/core/matrix.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace llama {

using subbit::index;

/// The byte-level BPE tokenizers of GPT-2, SmolLM2 and Llama 3. Encoding and decoding are const and may run in
/// parallel.
class tokenizer {
  public:
    /// Reads a tokenizer.json, and the names of the first and last token from a tokenizer_config.json beside it if
    /// there is one. io_error if it cannot be read, format_error naming file and key if it is malformed or not
    /// byte-level BPE.
    explicit tokenizer(const std::filesystem::path& tokenizer_json);
    /// The same from parsed JSON alone; `where` stands for the file in messages.
    tokenizer(const nlohmann::json& document, const std::string& where);

    /// The token ids of `text`. Special tokens that the text spells out become themselves if `specials`, else plain
    /// text. format_error if the text is not UTF-8 or has a byte that the vocabulary does not cover.
    std::vector<std::int32_t> encode(std::string_view text, bool specials = false) const;
    /// The token ids of a text file, special tokens taken as plain text; errors name the file.
    std::vector<std::int32_t> encode_file(const std::filesystem::path& text) const;

    /// The text of `ids`; bytes that are not UTF-8 become U+FFFD. value_error for an id that is not a token.
    std::string decode(std::span<const std::int32_t> ids) const;

    /// The bytes of one token, which need not be UTF-8 by themselves; value_error for an id that is not a token.
    std::string_view bytes_of(std::int32_t id) const;

    /// True for control tokens such as the end of the text.
    bool is_special(std::int32_t id) const;

    /// The id of a token by its text, special ones included.
    std::optional<std::int32_t> find(std::string_view text) const;

    /// The largest id + 1.
    index vocab_size() const { return static_cast<index>(tokens_.size()); }

    std::optional<std::int32_t> bos_id() const { return bos_id_; }
    std::optional<std::int32_t> eos_id() const { return eos_id_; }

  private:
    struct token {
        std::string bytes;
        bool used = false;  // ids may have gaps
        bool special = false;
    };
    struct merge {
        std::int32_t rank;
        std::int32_t result;
    };
    struct added_token {
        std::string text;
        std::int32_t id;
        bool special;
    };
    struct text_hash : std::hash<std::string_view> {
        using is_transparent = void;
    };
    using word_cache = std::unordered_map<std::string_view, std::vector<std::int32_t>>;

    void read_vocabulary(const nlohmann::json& vocabulary, std::size_t id_limit, const std::string& where);
    void read_added_tokens(const nlohmann::json& list, const nlohmann::json& vocabulary, std::size_t id_limit,
                           const std::string& where);
    void read_merges(const nlohmann::json& list, const nlohmann::json& vocabulary, const std::string& where);
    token& new_token(std::int32_t id, const std::string& text, const std::string& where);

    const added_token* added_at(std::string_view text, bool specials) const;
    void encode_plain(std::string_view text, word_cache& cache, std::vector<std::int32_t>& ids) const;
    std::vector<std::int32_t> encode_word(std::string_view word) const;

    std::vector<splitter> splitters_;
    std::vector<token> tokens_;
    std::unordered_map<std::string, std::int32_t, text_hash, std::equal_to<>> ids_;  // by bytes, the vocabulary alone
    std::array<std::int32_t, 256> byte_ids_{};                                       // -1: not covered
    std::unordered_map<std::uint64_t, merge> merges_;                                // by left id << 32 | right id
    std::array<std::vector<added_token>, 256> added_tokens_;                         // by first byte, the longest first
    bool ignore_merges_ = false;
    std::optional<std::int32_t> bos_id_, eos_id_;
};

/// Decodes token by token, holding back bytes until they are a whole character.
class stream_decoder {
  public:
    /// `tokens` must outlive the decoder.
    explicit stream_decoder(const tokenizer& tokens) : tokens_(&tokens) {}

    /// The text that is certain once `id` is known; always valid UTF-8, often empty in the middle of a character.
    std::string add(std::int32_t id);

    /// The end: U+FFFD if a character was left unfinished, else nothing.
    std::string finish();

  private:
    const tokenizer* tokens_;
    std::string pending_;
};

}  // namespace llama
