#include "tokenizer/byte_level.hpp"

#include "tokenizer/utf8.hpp"

#include <array>
#include <cstdint>

namespace llama {
namespace {

struct alphabet {
    std::array<std::string, 256> letters;
    std::array<int, 256 + 68> bytes{};  // by code point; -1: not a letter

    alphabet() {
        bytes.fill(-1);
        std::int32_t next = 256;
        for (int b = 0; b < 256; ++b) {
            const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            const std::int32_t letter = printable ? b : next++;
            append_code_point(letters[static_cast<std::size_t>(b)], letter);
            bytes[static_cast<std::size_t>(letter)] = b;
        }
    }
};

const alphabet& the_alphabet() {
    static const alphabet a;
    return a;
}

}  // namespace

std::string letters_of(std::string_view bytes) {
    std::string letters;
    letters.reserve(bytes.size() + 8);
    for (const char b : bytes)
        letters += the_alphabet().letters[static_cast<unsigned char>(b)];
    return letters;
}

std::optional<std::string> bytes_of_letters(std::string_view letters) {
    const auto& byte_of = the_alphabet().bytes;
    std::string bytes;
    bytes.reserve(letters.size());
    while (!letters.empty()) {
        const auto letter = first_code_point(letters);
        const auto at = static_cast<std::size_t>(letter.value);
        if (at >= byte_of.size() || byte_of[at] < 0) return {};
        bytes += static_cast<char>(byte_of[at]);
        letters.remove_prefix(letter.size);
    }
    return bytes;
}

}  // namespace llama
