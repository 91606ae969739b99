// libFuzzer: the bytes are a tokenizer.json, a zero byte, and a text. Whatever they are, either a subbit::error is
// thrown or the text becomes tokens, which become valid UTF-8. Without a zero byte they are a text for a small sound
// tokenizer, from which it must come back, unless that has no token for a part of it and says so.
#include "tokenizer/tokenizer.hpp"
#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

namespace {

const llama::tokenizer& small_tokenizer() {
    static const llama::tokenizer t(subbit::parse_json(R"({
        "added_tokens": [{"id": 5, "content": "<end>", "special": true}],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true},
                                                                {"type": "ByteLevel", "add_prefix_space": false}]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġa": 4}, "merges": ["a b", ["Ġ", "a"]]}})",
                                                       "small"),
                                    "small");
    return t;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const auto first = llama::first_utf8_sequence(text);
        if (first.what != llama::utf8_sequence::kind::valid) return false;
        text.remove_prefix(first.size);
    }
    return true;
}

/// The text of its tokens, whole and token by token.
std::string there_and_back(const llama::tokenizer& t, std::string_view text, llama::special_tokens specials,
                           std::set<std::string>& left_out) {
    const auto ids = t.encode(text, specials, &left_out);
    const std::string back = t.decode(ids);
    llama::stream_decoder stream(t);
    std::string pieces;
    for (const auto id : ids) {
        const std::string piece = stream.add(id);
        if (!is_utf8(piece)) std::abort();
        pieces += piece;
    }
    pieces += stream.finish();
    if (pieces != back || !is_utf8(back)) std::abort();
    return back;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string all(reinterpret_cast<const char*>(data), size);
    const std::size_t zero = all.find('\0');
    try {
        for (const auto specials : {llama::special_tokens::recognized, llama::special_tokens::plain_text}) {
            std::set<std::string> left_out;
            if (zero == std::string::npos) {
                const std::string back = there_and_back(small_tokenizer(), all, specials, left_out);
                if (left_out.empty() && back != all) std::abort();
            } else {
                const llama::tokenizer t(subbit::parse_json(std::string_view(all).substr(0, zero), "fuzz"), "fuzz");
                there_and_back(t, std::string_view(all).substr(zero + 1), specials, left_out);
            }
        }
    } catch (const subbit::error&) {
    }
    return 0;
}
