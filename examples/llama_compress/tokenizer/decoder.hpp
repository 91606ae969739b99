// From the names of tokens back to a text.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace llama {

/// Takes pieces of text.
using text_sink = std::function<void(const std::string& piece)>;

/// One step of a decoder at work: it is told the tokens one by one, and passes on what is certain.
class decoding_step {
  public:
    virtual ~decoding_step() = default;
    virtual void add(const std::string& token, const text_sink& sink) = 0;
    /// Passes on what was held back. More tokens may follow.
    virtual void finish(const text_sink& /*sink*/) {}
};

/// Makes the steps that a text needs, one after the other.
using decoder = std::vector<std::function<std::unique_ptr<decoding_step>()>>;

/// What a tokenizer.json's decoder stands for: ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, and sequences
/// of these; null is ByteLevel where words are made of letters for bytes, and else puts spaces between the tokens.
/// format_error beginning with `where` for anything else.
decoder parse_decoder(const nlohmann::json& value, bool byte_letters, const std::string& where);

}  // namespace llama
