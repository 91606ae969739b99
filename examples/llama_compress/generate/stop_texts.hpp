// Texts at which a continuation ends.
#pragma once

#include <string>
#include <vector>

namespace llama {

/// Passes on a text that comes in pieces up to the first of some texts, which is not passed on. What may be the
/// beginning of such a text waits for the next piece.
class stop_texts {
  public:
    /// None of the texts may be empty; value_error otherwise.
    explicit stop_texts(std::vector<std::string> texts);

    /// What is certain once the piece is known.
    std::string add(const std::string& piece);
    /// What waited, at the end of the text.
    std::string finish();
    /// True once one of the texts has come: add() and finish() give nothing more.
    bool found() const { return found_; }

  private:
    std::vector<std::string> texts_;
    std::string waiting_;
    bool found_ = false;
};

}  // namespace llama
