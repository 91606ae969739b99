#include "tokenizer/decoder.hpp"

#include "tokenizer/byte_level.hpp"
#include "tokenizer/step.hpp"
#include "tokenizer/utf8.hpp"

#include <optional>
#include <utility>

namespace llama {
namespace {

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const auto first = first_utf8_sequence(text);
        if (first.what != utf8_sequence::kind::valid) return false;
        text.remove_prefix(first.size);
    }
    return true;
}

/// Letters to bytes to text. A character is passed on when it is whole.
class byte_level_step : public decoding_step {
  public:
    void add(const std::string& token, const text_sink& sink) override {
        bytes_ += bytes_of_letters(token).value_or(token);
        std::string text;
        std::string_view rest = bytes_;
        while (!rest.empty()) {
            const auto first = first_utf8_sequence(rest);
            if (first.what == utf8_sequence::kind::incomplete) break;
            text += first.what == utf8_sequence::kind::valid ? rest.substr(0, first.size) : replacement_character;
            rest.remove_prefix(first.size);
        }
        bytes_ = std::string(rest);
        if (!text.empty()) sink(text);
    }
    void finish(const text_sink& sink) override {
        if (!bytes_.empty()) sink(std::string(replacement_character));
        bytes_.clear();
    }

  private:
    std::string bytes_;  // of a character that is not whole yet
};

/// The byte that a token like <0x0A> stands for.
std::optional<char> byte_of(const std::string& token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return {};
    unsigned byte = 0;
    for (const char c : {token[3], token[4]}) {
        const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
        if ((lower < '0' || lower > '9') && (lower < 'a' || lower > 'f')) return {};
        byte = byte * 16 + static_cast<unsigned>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
    }
    return static_cast<char>(byte);
}

/// A run of tokens for bytes is a text where it is UTF-8, and else as many replacement characters; so it waits for its
/// end.
class byte_fallback_step : public decoding_step {
  public:
    void add(const std::string& token, const text_sink& sink) override {
        if (const auto byte = byte_of(token)) {
            run_ += *byte;
            return;
        }
        finish(sink);
        sink(token);
    }
    void finish(const text_sink& sink) override {
        if (run_.empty()) return;
        if (is_utf8(run_))
            sink(run_);
        else
            for (std::size_t k = 0; k < run_.size(); ++k)
                sink(std::string(replacement_character));
        run_.clear();
    }

  private:
    std::string run_;
};

/// Makes one token of all: for steps that look at the whole.
class gather_step : public decoding_step {
  public:
    void add(const std::string& token, const text_sink& /*sink*/) override { all_ += token; }
    void finish(const text_sink& sink) override { sink(std::exchange(all_, {})); }

  private:
    std::string all_;
};

/// A step that changes every token by itself; it may know which is the first.
class token_step : public decoding_step {
  public:
    using change = std::function<std::string(const std::string& token, bool is_first)>;
    explicit token_step(change how) : how_(std::move(how)) {}
    void add(const std::string& token, const text_sink& sink) override {
        sink(how_(token, is_first_));
        is_first_ = false;
    }

  private:
    change how_;
    bool is_first_ = true;
};

/// Takes away the first characters of a text that comes in pieces, as long as they are `what`.
class strip_start_step : public decoding_step {
  public:
    strip_start_step(std::string what, std::size_t count) : what_(std::move(what)), left_(count) {}
    void add(const std::string& piece, const text_sink& sink) override {
        std::string_view rest = piece;
        for (; left_ > 0 && rest.starts_with(what_); --left_)
            rest.remove_prefix(what_.size());
        if (!rest.empty()) {
            left_ = 0;
            sink(std::string(rest));
        }
    }

  private:
    std::string what_;
    std::size_t left_;
};

/// A token without up to `start` characters `what` at its beginning and up to `stop` at its end.
std::string stripped(std::string_view token, const std::string& what, std::size_t start, std::size_t stop) {
    for (; start > 0 && token.starts_with(what); --start)
        token.remove_prefix(what.size());
    for (; stop > 0 && token.ends_with(what); --stop)
        token.remove_suffix(what.size());
    return std::string(token);
}

/// Builds the list of steps. Once tokens are fused, the steps that follow are told one token in pieces.
class decoder_parser {
  public:
    void add(const step& s) {
        if (s.type() == "Sequence") {
            for (const step& inner : s.list("decoders"))
                add(inner);
        } else if (s.type() == "Fuse") {
            fused_ = true;
        } else if (s.type() == "ByteLevel") {
            append_whole([] { return std::make_unique<byte_level_step>(); });
            fused_ = true;
        } else if (s.type() == "ByteFallback") {
            append_whole([] { return std::make_unique<byte_fallback_step>(); });
        } else if (s.type() == "Replace") {
            append_change([what = s.search_pattern("pattern"), content = s.text("content")](
                              const std::string& token, bool) { return replaced(token, what, content); });
        } else if (s.type() == "Metaspace") {
            add_metaspace(s);
        } else if (s.type() == "Strip") {
            add_strip(s);
        } else {
            s.unknown("ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence or Strip");
        }
    }
    decoder take() { return std::move(steps_); }

  private:
    using maker = decoder::value_type;

    void append_whole(maker make) {
        if (fused_) steps_.push_back([] { return std::make_unique<gather_step>(); });
        steps_.push_back(std::move(make));
    }
    void append_change(token_step::change how) {
        append_whole([how = std::move(how)] { return std::make_unique<token_step>(how); });
    }

    void add_metaspace(const step& s) {
        s.character("replacement");
        const bool drops_first = metaspace_scheme(s) != "never";
        append_change([mark = text_pattern(s.text("replacement"), s.where()), drops_first](const std::string& token,
                                                                                           bool is_first) {
            return replaced(token, mark, is_first && drops_first ? "" : " ");
        });
    }

    void add_strip(const step& s) {
        s.character("content");
        const std::string what = s.text("content");
        const std::size_t start = s.count("start", 0), stop = s.count("stop", 0);
        if (fused_ && stop == 0)
            steps_.push_back([what, start] { return std::make_unique<strip_start_step>(what, start); });
        else
            append_change([=](const std::string& token, bool) { return stripped(token, what, start, stop); });
    }

    decoder steps_;
    bool fused_ = false;
};

}  // namespace

decoder parse_decoder(const nlohmann::json& value, bool byte_letters, const std::string& where) {
    if (value.is_null() && byte_letters) return {[] { return std::make_unique<byte_level_step>(); }};
    if (value.is_null())
        return {[] {
            return std::make_unique<token_step>(
                [](const std::string& token, bool is_first) { return is_first ? token : " " + token; });
        }};
    decoder_parser parser;
    parser.add(step(value, where));
    return parser.take();
}

}  // namespace llama
