#include "tokenizer/added_tokens.hpp"

#include "tokenizer/unicode.hpp"
#include "tokenizer/utf8.hpp"

#include <algorithm>

namespace llama {
namespace {

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
    const bool before = begin > 0 && is_word_character(last_code_point(text.substr(0, begin)).value);
    const bool after = end < text.size() && is_word_character(first_code_point(text.substr(end)).value);
    return !before && !after;
}

std::size_t without_space_before(std::string_view text, std::size_t begin) {
    while (begin > 0 && is_white_space(last_code_point(text.substr(0, begin)).value))
        begin -= last_code_point(text.substr(0, begin)).size;
    return begin;
}

std::size_t without_space_after(std::string_view text, std::size_t end) {
    while (end < text.size() && is_white_space(first_code_point(text.substr(end)).value))
        end += first_code_point(text.substr(end)).size;
    return end;
}

}  // namespace

added_token_finder::added_token_finder(std::vector<added_token> tokens) : tokens_(std::move(tokens)) {
    std::stable_sort(tokens_.begin(), tokens_.end(),
                     [](const added_token& a, const added_token& b) { return a.text < b.text; });
    const auto same = [](const added_token& a, const added_token& b) { return a.text == b.text; };
    tokens_.erase(std::unique(tokens_.begin(), tokens_.end(), same), tokens_.end());
    for (const added_token& t : tokens_)
        is_first_byte_[static_cast<unsigned char>(t.text[0])] = true;
}

/// Narrows the sorted list byte by byte to the tokens that go on as the text does.
const added_token* added_token_finder::longest_at(std::string_view text) const {
    const added_token* longest = nullptr;
    auto first = tokens_.begin(), last = tokens_.end();
    for (std::size_t k = 0; first != last; ++k) {
        if (first->text.size() == k) longest = &*first++;  // the shortest comes first
        if (k == text.size() || first == last) break;
        const auto byte = [k](const added_token& t) { return static_cast<unsigned char>(t.text[k]); };
        const auto wanted = static_cast<unsigned char>(text[k]);
        first = std::partition_point(first, last, [&](const added_token& t) { return byte(t) < wanted; });
        last = std::partition_point(first, last, [&](const added_token& t) { return byte(t) == wanted; });
    }
    return longest;
}

void added_token_finder::find(std::string_view text, bool specials,
                              const std::function<void(std::string_view plain)>& between,
                              const std::function<void(std::int32_t id)>& token) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size() && !tokens_.empty();) {
        const bool begins = is_first_byte_[static_cast<unsigned char>(text[at])];
        const added_token* const found = begins ? longest_at(text.substr(at)) : nullptr;
        if (!found) {
            ++at;
            continue;
        }
        std::size_t begin = at, end = at + found->text.size();
        at = end;  // what is not taken after all is not looked at again
        if (found->special && !specials) continue;
        if (found->single_word && !stands_alone(text, begin, end)) continue;
        if (found->lstrip) begin = std::max(without_space_before(text, begin), done);
        if (found->rstrip) end = without_space_after(text, end);
        if (begin > done) between(text.substr(done, begin - done));
        if (end > begin) token(found->id);  // else the token before took the white space that this one is
        done = end;
    }
    if (done < text.size()) between(text.substr(done));
}

}  // namespace llama
