#include "tokenizer/unicode.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>

#include <utf8proc.h>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace llama {

bool is_white_space(std::int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    if (c == 0x85) return true;
    const auto category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

bool is_word_character(std::int32_t c) {
    // Letters in circles and squares count as letters, although their category is "other symbol".
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189))
        return true;
    if (c == 0x200c || c == 0x200d) return true;  // zero width (non-)joiner
    switch (utf8proc_category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        default:
            return false;
    }
}

bool is_punctuation(std::int32_t c) {
    if (c < 0x80) return c > ' ' && c < 0x7f && !is_word_character(c) ? true : c == '_';
    const auto category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool is_number(std::int32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    const auto category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

std::string lower_case(std::string_view text) {
    std::string lower;
    lower.reserve(text.size());
    for (; !text.empty(); text.remove_prefix(first_code_point(text).size)) {
        const auto c = first_code_point(text).value;
        if (c == 0x130)
            lower += "i\xcc\x87";  // the one character whose lower case is two
        else
            append_code_point(lower, utf8proc_tolower(c));
    }
    return lower;
}

std::string normalized(std::string_view text, normalization_form form) {
    // Most texts are plain ASCII, and every form of that is itself.
    if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
        return std::string(text);
    const bool composed = form == normalization_form::nfc || form == normalization_form::nfkc;
    const bool compatible = form == normalization_form::nfkc || form == normalization_form::nfkd;
    const auto options = static_cast<utf8proc_option_t>(
        UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0));
    utf8proc_uint8_t* result = nullptr;
    const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result, options);
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, std::free);
    if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    if (size < 0) throw subbit::format_error(std::string("the text cannot be normalized: ") + utf8proc_errmsg(size));
    return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(size)};
}

}  // namespace llama
