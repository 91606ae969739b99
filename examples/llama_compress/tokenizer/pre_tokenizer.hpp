// The first cut of a text: into the words that byte pair encoding then works on one by one.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;  // PCRE2's compiled pattern

namespace llama {

/// A regular expression that cuts text: each match becomes a piece of its own, and so does what lies between two
/// matches.
class splitter {
  public:
    /// Compiles a Unicode pattern (or takes it letter by letter); format_error beginning with `where` if it is invalid.
    splitter(const std::string& pattern, bool literal, const std::string& where);

    /// Appends the pieces of `text`, which is valid UTF-8; together they are the text.
    void split(std::string_view text, std::vector<std::string_view>& pieces) const;

  private:
    std::shared_ptr<pcre2_real_code_8> code_;
    bool compiled_to_machine_code_ = false;
    std::string where_;
};

/// The splitters that a tokenizer.json's pre_tokenizer stands for, to be applied one after the other. It must be
/// byte-level: ByteLevel alone (GPT-2), Digits and ByteLevel (SmolLM2), Split and ByteLevel (Llama 3); format_error for
/// anything else.
std::vector<splitter> parse_pre_tokenizer(const nlohmann::json& pre_tokenizer, const std::string& where);

}  // namespace llama
