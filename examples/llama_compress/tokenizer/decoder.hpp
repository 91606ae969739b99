// From the names of tokens to a text.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace llama {

/// Receives pieces of text.
using text_sink = std::function<void(const std::string& piece)>;

/// One step of a decoder in use: it receives the tokens one by one, and passes on the text that is certain.
class decoding_step {
  public:
    virtual ~decoding_step() = default;
    virtual void add(const std::string& token, const text_sink& sink) = 0;
    /// Passes on the text that was held back. More tokens may follow.
    virtual void finish(const text_sink& /*sink*/) {}
};

/// Makes the chain of steps for a text.
using decoder = std::vector<std::function<std::unique_ptr<decoding_step>()>>;

/// The decoder of a tokenizer.json: ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip, and sequences of these.
/// Null means ByteLevel if the vocabulary is byte-level, and otherwise spaces between the tokens. format_error
/// beginning with `where` for anything else.
decoder parse_decoder(const nlohmann::json& value, bool byte_letters, const std::string& where);

}  // namespace llama
