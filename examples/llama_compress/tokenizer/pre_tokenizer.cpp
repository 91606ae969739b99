#include "tokenizer/pre_tokenizer.hpp"

#include "tokenizer/byte_level.hpp"
#include "tokenizer/step.hpp"
#include "tokenizer/unicode.hpp"
#include "tokenizer/utf8.hpp"

#include <map>

namespace llama {
namespace {

// GPT-2's words: contractions; letters, digits or other signs, each with the space before them; and white space, of
// which the last one is left to the word that follows.
constexpr const char* gpt2_words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// What becomes of the matches that cut a text: words of their own, dropped, or part of a neighbour.
enum class cut { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// Joins the ranges of a pattern into words, as a cut says. The trick: a range waits until the next one shows whether
/// they belong together.
class joiner {
  public:
    joiner(const word& whole, cut behavior, const word_sink& sink) : whole_(whole), behavior_(behavior), sink_(sink) {}

    void add(std::size_t begin, std::size_t end, bool is_match) {
        if (behavior_ == cut::removed) {
            if (!is_match) emit(begin, end);
            return;
        }
        if (waiting_ && joins(is_match)) {
            end_ = end;
        } else {
            flush();
            begin_ = begin, end_ = end, waiting_ = true;
        }
        last_is_match_ = is_match;
    }

    void flush() {
        if (waiting_) emit(begin_, end_);
        waiting_ = false;
    }

  private:
    /// Whether the next range belongs to the one that waits.
    bool joins(bool is_match) const {
        switch (behavior_) {
            case cut::merged_with_previous:
                return is_match && !last_is_match_;
            case cut::merged_with_next:
                return !is_match && last_is_match_;
            case cut::contiguous:
                return is_match == last_is_match_;
            default:
                return false;
        }
    }

    void emit(std::size_t begin, std::size_t end) const {
        if (end > begin) sink_({whole_.text.substr(begin, end - begin), whole_.starts_text && begin == 0});
    }

    const word& whole_;
    cut behavior_;
    const word_sink& sink_;
    std::size_t begin_ = 0, end_ = 0;
    bool waiting_ = false, last_is_match_ = false;
};

pre_tokenizer splitting(pattern what, cut behavior) {
    return [what = std::move(what), behavior](const word& whole, const word_sink& sink) {
        joiner words(whole, behavior, sink);
        what(whole.text, [&](std::size_t begin, std::size_t end, bool is_match) { words.add(begin, end, is_match); });
        words.flush();
    };
}

cut parse_cut(const step& s, const std::string& fallback) {
    static const std::map<std::string, cut> cuts = {{"Removed", cut::removed},
                                                    {"Isolated", cut::isolated},
                                                    {"MergedWithPrevious", cut::merged_with_previous},
                                                    {"MergedWithNext", cut::merged_with_next},
                                                    {"Contiguous", cut::contiguous}};
    const auto found = cuts.find(s.text("behavior", fallback));
    if (found == cuts.end())
        s.refuse("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
    return found->second;
}

pre_tokenizer parse_step(const step& s);

pre_tokenizer parse_sequence(const step& s) {
    pre_tokenizer all;
    for (const step& inner : s.list("pretokenizers")) {
        auto next = parse_step(inner);
        if (!all) {
            all = std::move(next);
            continue;
        }
        all = [first = std::move(all), then = std::move(next)](const word& whole, const word_sink& sink) {
            first(whole, [&](const word& part) { then(part, sink); });
        };
    }
    if (!all) return [](const word& whole, const word_sink& sink) { sink(whole); };
    return all;
}

pre_tokenizer parse_split(const step& s) {
    auto what = s.search_pattern("pattern");
    if (s.flag("invert", false)) what = inverted(std::move(what));
    return splitting(std::move(what), parse_cut(s, ""));
}

pre_tokenizer parse_byte_level(const step& s) {
    const bool add_space = s.flag("add_prefix_space", true);
    const auto words =
        s.flag("use_regex", true) ? splitting(regex_pattern(gpt2_words, s.where()), cut::isolated) : pre_tokenizer();
    return [add_space, words](const word& whole, const word_sink& sink) {
        const word_sink as_letters = [&](const word& part) {
            const std::string letters = letters_of(part.text);
            sink({letters, part.starts_text});
        };
        word spaced = whole;
        std::string owner;
        if (add_space && !whole.text.starts_with(' ')) spaced.text = owner = " " + std::string(whole.text);
        if (words)
            words(spaced, as_letters);
        else
            as_letters(spaced);
    };
}

pre_tokenizer parse_metaspace(const step& s) {
    const std::string scheme = metaspace_scheme(s);
    const std::int32_t mark = s.character("replacement");
    const auto spaces = character_pattern([](std::int32_t c) { return c == ' '; });
    const auto words =
        s.flag("split", true)
            ? splitting(character_pattern([mark](std::int32_t c) { return c == mark; }), cut::merged_with_next)
            : pre_tokenizer();
    return [=, text = s.text("replacement")](const word& whole, const word_sink& sink) {
        std::string marked = replaced(whole.text, spaces, text);
        if ((scheme == "always" || (scheme == "first" && whole.starts_text)) && !marked.starts_with(text))
            marked.insert(0, text);
        const word changed{marked, whole.starts_text};
        if (words)
            words(changed, sink);
        else
            sink(changed);
    };
}

/// Runs of word characters and runs of other signs; white space is dropped.
pre_tokenizer whitespace_words() {
    const auto spaces = splitting(character_pattern(is_white_space), cut::removed);
    const auto runs = splitting(character_pattern(is_word_character), cut::contiguous);
    return
        [=](const word& whole, const word_sink& sink) { spaces(whole, [&](const word& part) { runs(part, sink); }); };
}

pre_tokenizer parse_step(const step& s) {
    if (s.type() == "Sequence") return parse_sequence(s);
    if (s.type() == "Split") return parse_split(s);
    if (s.type() == "ByteLevel") return parse_byte_level(s);
    if (s.type() == "Metaspace") return parse_metaspace(s);
    if (s.type() == "Digits")
        return splitting(character_pattern(is_number),
                         s.flag("individual_digits", false) ? cut::isolated : cut::contiguous);
    if (s.type() == "Punctuation") return splitting(character_pattern(is_punctuation), parse_cut(s, "Isolated"));
    if (s.type() == "Whitespace") return whitespace_words();
    if (s.type() == "WhitespaceSplit") return splitting(character_pattern(is_white_space), cut::removed);
    s.unknown("ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace or WhitespaceSplit");
}

}  // namespace

pre_tokenizer parse_pre_tokenizer(const nlohmann::json& value, const std::string& where) {
    if (value.is_null()) return [](const word& whole, const word_sink& sink) { sink(whole); };
    return parse_step(step(value, where));
}

}  // namespace llama
