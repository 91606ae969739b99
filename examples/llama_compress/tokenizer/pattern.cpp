#include "tokenizer/pattern.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <array>
#include <new>

namespace llama {
namespace {

using subbit::format_error;
using subbit::in_quotes;

std::string message_of(int code) {
    std::array<PCRE2_UCHAR8, 256> text{};
    pcre2_get_error_message_8(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

/// Tokenizers' expressions are written for Ruby's syntax. What PCRE2 reads otherwise is spelled out: \w has marks,
/// \b is its edge, \h is a hexadecimal digit. (^ and $ are lines' ends: PCRE2_MULTILINE.)
std::string for_pcre2(const std::string& expression) {
    const std::string word = R"(\p{L}\p{M}\p{N}\p{Pc}\x{24b6}-\x{24e9})";
    const std::string in = "[" + word + "]", edge = "(?<=" + in + ")(?!" + in + ")|(?<!" + in + ")(?=" + in + ")";
    std::string result;
    int classes = 0;  // that are open
    for (std::size_t k = 0; k < expression.size(); ++k) {
        const char c = expression[k];
        const char next = c == '\\' && k + 1 < expression.size() ? expression[++k] : '\0';
        if (next == 'w')
            result += classes > 0 ? word : in;
        else if (next == 'W' && classes == 0)
            result += "[^" + word + "]";
        else if (next == 'b' && classes == 0)
            result += "(?:" + edge + ")";
        else if (next == 'B' && classes == 0)
            result += "(?!" + edge + ")";
        else if (next == 'h')
            result += classes > 0 ? "0-9a-fA-F" : "[0-9a-fA-F]";
        else if (next != '\0')
            result += {c, next};
        else
            result += c;
        if (next == '\0' && c == '[' && (classes == 0 || expression.compare(k, 2, "[:") == 0)) ++classes;
        if (next == '\0' && c == ']' && classes > 0) --classes;
    }
    return result;
}

class compiled_pattern {
  public:
    compiled_pattern(const std::string& expression, bool literal, const std::string& where) : where_(where) {
        int error = 0;
        PCRE2_SIZE at = 0;
        const std::uint32_t options =
            PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
        code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(expression.data()), expression.size(), options,
                                    &error, &at, nullptr),
                    pcre2_code_free_8);
        if (!code_)
            throw format_error(where + ": the regular expression " + in_quotes(expression) +
                               " is invalid at position " + std::to_string(at) + ": " + message_of(error));
        compiled_to_machine_code_ = pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE) == 0;
    }

    void operator()(std::string_view text, const range_sink& sink) const {
        if (text.empty()) return;
        const std::unique_ptr<pcre2_match_data_8, decltype(&pcre2_match_data_free_8)> match(
            pcre2_match_data_create_8(1, nullptr), pcre2_match_data_free_8);
        if (!match) throw std::bad_alloc();
        std::size_t done = 0;    // up to here all was handed over
        bool after_one = false;  // a match ends there: an empty one there is none
        for (std::size_t from = 0; from <= text.size();) {
            if (!search(text, from, *match)) break;
            const PCRE2_SIZE* const range = pcre2_get_ovector_pointer_8(match.get());
            const std::size_t begin = range[0], end = range[1];
            if (begin < done || end < begin) throw format_error(where_ + ": the regular expression matches backwards");
            if (begin == end && after_one && end == done) {
                if (from == text.size()) break;
                from += first_code_point(text.substr(from)).size;
                continue;
            }
            if (begin > done) sink(done, begin, false);
            sink(begin, end, true);
            done = from = end;
            after_one = true;
        }
        if (done < text.size()) sink(done, text.size(), false);
    }

  private:
    bool search(std::string_view text, std::size_t from, pcre2_match_data_8& match) const {
        const auto run = compiled_to_machine_code_ ? pcre2_jit_match_8 : pcre2_match_8;
        // The text was checked once, by the caller: checking it here again at every word would cost its square.
        const int found = run(code_.get(), reinterpret_cast<PCRE2_SPTR8>(text.data()), text.size(), from,
                              PCRE2_NO_UTF_CHECK, &match, nullptr);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            throw format_error(where_ + ": the regular expression gives up: " + message_of(found));
        return found >= 0;
    }

    std::shared_ptr<pcre2_real_code_8> code_;
    bool compiled_to_machine_code_ = false;
    std::string where_;
};

}  // namespace

pattern regex_pattern(const std::string& expression, const std::string& where) {
    return compiled_pattern(for_pcre2(expression), false, where);
}

pattern text_pattern(const std::string& text, const std::string& where) {
    return compiled_pattern(text, true, where);
}

pattern character_pattern(std::function<bool(std::int32_t)> is_match) {
    return [is_match = std::move(is_match)](std::string_view text, const range_sink& sink) {
        std::size_t done = 0;
        for (std::size_t at = 0; at < text.size();) {
            const auto c = first_code_point(text.substr(at));
            if (is_match(c.value)) {
                if (at > done) sink(done, at, false);
                sink(at, at + c.size, true);
                done = at + c.size;
            }
            at += c.size;
        }
        if (done < text.size()) sink(done, text.size(), false);
    };
}

pattern inverted(pattern inner) {
    return [inner = std::move(inner)](std::string_view text, const range_sink& sink) {
        inner(text, [&](std::size_t begin, std::size_t end, bool is_match) { sink(begin, end, !is_match); });
    };
}

std::string replaced(std::string_view text, const pattern& what, std::string_view content) {
    std::string result;
    result.reserve(text.size());
    what(text, [&](std::size_t begin, std::size_t end, bool is_match) {
        result += is_match ? content : text.substr(begin, end - begin);
    });
    return result;
}

}  // namespace llama
