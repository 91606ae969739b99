// The parts of UTF-8 that are needed: the length of a sequence, whether it is valid, and its code point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace llama {

/// The replacement for bytes that are not a character: U+FFFD.
inline constexpr std::string_view replacement_character = "\xef\xbf\xbd";

/// What some bytes begin with: a code point, an invalid sequence, or a sequence that is cut off by the end.
struct utf8_sequence {
    enum class kind { valid, invalid, incomplete };
    kind what;
    std::size_t size;  // bytes it takes, at least 1
};

/// Reads the first sequence of `text`, which is not empty. Overlong forms, surrogates and code points above U+10FFFF
/// are invalid.
inline utf8_sequence first_utf8_sequence(std::string_view text) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {utf8_sequence::kind::valid, 1};
    const std::size_t size = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : 4;
    if (lead < 0xc2 || lead > 0xf4) return {utf8_sequence::kind::invalid, 1};
    unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (std::size_t k = 1; k < size; ++k, least = 0x80, most = 0xbf) {
        if (k == text.size()) return {utf8_sequence::kind::incomplete, k};
        if (byte(k) < least || byte(k) > most) return {utf8_sequence::kind::invalid, k};
    }
    return {utf8_sequence::kind::valid, size};
}

/// The text with every sequence that is not UTF-8 replaced.
inline std::string valid_utf8(std::string_view text) {
    std::string valid;
    while (!text.empty()) {
        const auto first = first_utf8_sequence(text);
        valid += first.what == utf8_sequence::kind::valid ? text.substr(0, first.size) : replacement_character;
        text.remove_prefix(first.size);
    }
    return valid;
}

struct code_point {
    std::int32_t value;
    std::size_t size;  // bytes it takes
};

/// The first code point of valid UTF-8 that is not empty.
inline code_point first_code_point(std::string_view text) {
    const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return {static_cast<std::int32_t>(lead), 1};
    const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    unsigned value = lead & (0x7fU >> size);
    for (std::size_t k = 1; k < size; ++k)
        value = value << 6 | (byte(k) & 0x3fU);
    return {static_cast<std::int32_t>(value), size};
}

/// The last code point of valid UTF-8 that is not empty.
inline code_point last_code_point(std::string_view text) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xc0U) == 0x80U)
        --start;
    return first_code_point(text.substr(start));
}

/// Appends a code point as UTF-8.
inline void append_code_point(std::string& text, std::int32_t value) {
    const auto v = static_cast<unsigned>(value);
    const auto add = [&](unsigned byte) { text += static_cast<char>(byte); };
    if (v < 0x80)
        add(v);
    else if (v < 0x800)
        add(0xc0 | v >> 6), add(0x80 | (v & 0x3f));
    else if (v < 0x10000)
        add(0xe0 | v >> 12), add(0x80 | (v >> 6 & 0x3f)), add(0x80 | (v & 0x3f));
    else
        add(0xf0 | v >> 18), add(0x80 | (v >> 12 & 0x3f)), add(0x80 | (v >> 6 & 0x3f)), add(0x80 | (v & 0x3f));
}

}  // namespace llama
