// Just enough UTF-8: where a sequence ends, and whether it is one.
#pragma once

#include <cstddef>
#include <string_view>

namespace llama {

/// What stands at the start of some bytes: a code point, a piece that no code point begins with, or one cut off by the
/// end.
struct utf8_sequence {
    enum class kind { valid, invalid, incomplete };
    kind what;
    std::size_t size;  // bytes it takes, at least 1
};

/// Reads the first sequence of `text`, which is not empty. Overlong forms, surrogates and what lies beyond U+10FFFF are
/// invalid.
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

}  // namespace llama
