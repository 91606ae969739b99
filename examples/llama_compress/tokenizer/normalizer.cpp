#include "tokenizer/normalizer.hpp"

#include "tokenizer/byte_level.hpp"
#include "tokenizer/step.hpp"
#include "tokenizer/unicode.hpp"
#include "tokenizer/utf8.hpp"

#include <map>

namespace llama {
namespace {

normalizer parse_normalizer_step(const step& s);

normalizer parse_normalizer_sequence(const step& s) {
    std::vector<normalizer> steps;
    for (const step& inner : s.list("normalizers"))
        steps.push_back(parse_normalizer_step(inner));
    return [steps = std::move(steps)](normalized_text& t) {
        for (const normalizer& one : steps)
            one(t);
    };
}

/// Whether a match that is not empty begins the text.
bool starts_with_match(std::string_view text, const pattern& what) {
    bool starts = false;
    what(text, [&](std::size_t begin, std::size_t end, bool is_match) {
        if (begin == 0 && end > 0 && is_match) starts = true;
    });
    return starts;
}

normalizer parse_normalizer_strip(const step& s) {
    return [left = s.flag("strip_left", true), right = s.flag("strip_right", true)](normalized_text& t) {
        std::string_view rest = t.text;
        while (left && !rest.empty() && is_white_space(first_code_point(rest).value))
            rest.remove_prefix(first_code_point(rest).size);
        if (rest.size() < t.text.size()) t.keeps_start = false;
        while (right && !rest.empty() && is_white_space(last_code_point(rest).value))
            rest.remove_suffix(last_code_point(rest).size);
        t.text = std::string(rest);
    };
}

normalizer parse_normalizer_replace(const step& s) {
    return [what = s.search_pattern("pattern"), content = s.text("content")](normalized_text& t) {
        t.keeps_start = t.keeps_start && !(content.empty() && starts_with_match(t.text, what));
        t.text = replaced(t.text, what, content);
    };
}

normalizer parse_normalizer_step(const step& s) {
    static const std::map<std::string, normalization_form> forms = {{"NFC", normalization_form::nfc},
                                                                    {"NFD", normalization_form::nfd},
                                                                    {"NFKC", normalization_form::nfkc},
                                                                    {"NFKD", normalization_form::nfkd}};
    if (const auto form = forms.find(s.type()); form != forms.end())
        return [which = form->second](normalized_text& t) { t.text = normalized(t.text, which); };
    if (s.type() == "Sequence") return parse_normalizer_sequence(s);
    if (s.type() == "Lowercase") return [](normalized_text& t) { t.text = lower_case(t.text); };
    if (s.type() == "ByteLevel") return [](normalized_text& t) { t.text = letters_of(t.text); };
    if (s.type() == "Strip") return parse_normalizer_strip(s);
    if (s.type() == "Prepend")
        return [what = s.text("prepend")](normalized_text& t) {
            if (!t.text.empty()) t.text.insert(0, what);
        };
    if (s.type() == "Replace") return parse_normalizer_replace(s);
    s.unknown("ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence or Strip");
}

}  // namespace

normalizer parse_normalizer(const nlohmann::json& value, const std::string& where) {
    if (value.is_null()) return {};
    return parse_normalizer_step(step(value, where));
}

}  // namespace llama
