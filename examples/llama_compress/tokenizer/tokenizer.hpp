// Text to token ids and back: byte pair encoding, read from a tokenizer.json.
//
// A text goes through: added tokens taken out -> normalizer -> added tokens of the normalized text -> pre-tokenizer
// (words)
// -> byte pairs of each word. A post-processor says which tokens stand around a text, and a decoder makes a text of
// tokens.
#pragma once

#include "tokenizer/added_tokens.hpp"
#include "tokenizer/byte_pairs.hpp"
#include "tokenizer/decoder.hpp"
#include "tokenizer/normalizer.hpp"
#include "tokenizer/post_processor.hpp"
#include "tokenizer/pre_tokenizer.hpp"
#include "tokenizer/vocabulary.hpp"

#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

using subbit::index;

/// Whether the names of special tokens in a text stand for these tokens, or are ordinary text.
enum class special_tokens { recognized, plain_text };

/// The BPE tokenizers of Llama 2 and 3, Mistral, Qwen, Gemma, SmolLM2, GPT-2. Encoding and decoding are const and may
/// run in parallel. Truncation and padding of the file are ignored: texts keep their length.
class tokenizer {
  public:
    /// Reads a tokenizer.json, and the names of the first and last token from a tokenizer_config.json beside it if
    /// there is one. io_error if it cannot be read, format_error naming file and key if it is malformed or has a step
    /// that is not known.
    explicit tokenizer(const std::filesystem::path& tokenizer_json);
    /// The same from parsed JSON alone; `where` stands for the file in messages.
    tokenizer(const nlohmann::json& document, const std::string& where);

    /// The token ids of `text`, without the tokens that begin or end it. format_error if the text is not UTF-8.
    /// Characters that the vocabulary does not cover are left out, as in the usual library; `left_out` collects them.
    std::vector<std::int32_t> encode(std::string_view text, special_tokens specials = special_tokens::recognized,
                                     std::set<std::string>* left_out = nullptr) const;
    /// The token ids of a text file; errors name the file.
    std::vector<std::int32_t> encode_file(const std::filesystem::path& text,
                                          special_tokens specials = special_tokens::recognized,
                                          std::set<std::string>* left_out = nullptr) const;

    /// The tokens that begin a text (BOS) and end it, as the post-processor says: usually one and none, or none at all.
    const surrounding_tokens& around_text() const { return around_; }

    /// The text of `ids`, special tokens included; bytes that are not UTF-8 become U+FFFD. value_error for an id that
    /// is not a token.
    std::string decode(std::span<const std::int32_t> ids) const;

    /// True if an id is a token: ids may have gaps, and a model may have more rows than there are tokens.
    bool is_token(std::int32_t id) const { return tokens_.has(id); }

    /// The id of a token by its name in the file, special ones included.
    std::optional<std::int32_t> find(std::string_view name) const { return tokens_.find(name); }

    /// The largest id + 1.
    index vocab_size() const { return tokens_.size(); }

    std::optional<std::int32_t> bos_id() const { return bos_id_; }
    std::optional<std::int32_t> eos_id() const { return eos_id_; }

  private:
    friend class stream_decoder;
    class encoding;  // one call of encode()

    void read_vocabulary(const nlohmann::json& list, const std::string& where);
    void read_added_tokens(const nlohmann::json& list, const std::string& where);

    vocabulary tokens_;
    std::optional<byte_pairs> pairs_;
    normalizer normalizer_;
    added_token_finder added_, added_after_normalizer_;
    pre_tokenizer pre_tokenizer_;
    surrounding_tokens around_;
    decoder decoder_;
    std::optional<std::int32_t> bos_id_, eos_id_;
};

/// Decodes token by token, and holds back text that later tokens may change.
class stream_decoder {
  public:
    /// `tokens` must outlive the decoder.
    explicit stream_decoder(const tokenizer& tokens);

    /// The text that is certain once `id` is known; always valid UTF-8, often empty in the middle of a character.
    std::string add(std::int32_t id);

    /// The text that was held back, with U+FFFD for an unfinished character. The next token begins another text.
    std::string finish();

    /// Takes tokens whose text is known already, such as those of a prompt; text of further tokens continues it.
    void skip(std::span<const std::int32_t> ids);

  private:
    void start();
    std::string flush();
    void pass(std::size_t step, const std::string& token, std::string& text);

    const tokenizer* tokens_;
    std::vector<std::unique_ptr<decoding_step>> steps_;
};

}  // namespace llama
