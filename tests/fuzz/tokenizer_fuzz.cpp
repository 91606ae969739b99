// libFuzzer: the bytes are a tokenizer.json, a zero byte, and a text. Whatever they are, either a subbit::error is
// thrown or the text comes back from its tokens. Without a zero byte they are a text for a small sound tokenizer.
#include "tokenizer/tokenizer.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <cstdint>
#include <cstdlib>
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

void check(const llama::tokenizer& t, std::string_view text) {
    for (const bool specials : {false, true})
        if (t.decode(t.encode(text, specials)) != text) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string all(reinterpret_cast<const char*>(data), size);
    const std::size_t zero = all.find('\0');
    try {
        if (zero == std::string::npos)
            check(small_tokenizer(), all);
        else
            check({subbit::parse_json(std::string_view(all).substr(0, zero), "fuzz"), "fuzz"}, all.substr(zero + 1));
    } catch (const subbit::error&) {
    }
    return 0;
}
