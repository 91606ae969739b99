#include "tokenizer/byte_pairs.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <tuple>
#include <utility>

namespace llama {
namespace {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

constexpr std::int32_t none = -1;

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool flag(const json& model, const char* key, const std::string& where) {
    const json value = model.value(key, json(false));
    if (!value.is_boolean() && !value.is_null())
        throw format_error(where + "." + key + " is " + dump(value) + ", expected true or false");
    return value == true;
}

// Latin, Greek, and the letters of byte-level vocabularies.
constexpr std::size_t remembered_characters = 1024;

/// The token that stands for a byte where a character is none: <0x0A>.
std::string name_of_byte(std::size_t byte) {
    constexpr const char* digits = "0123456789ABCDEF";
    return {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
}

/// The halves of a merge, "a b" or in newer files ["a", "b"]; nothing if it is neither.
std::optional<std::pair<std::string, std::string>> halves_of(const json& entry) {
    if (entry.is_string()) {
        const auto& text = entry.get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return {};
        return std::pair(text.substr(0, space), text.substr(space + 1));
    }
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_string()) return {};
    return std::pair(entry[0].get<std::string>(), entry[1].get<std::string>());
}

}  // namespace

merge_table::merge_table(std::size_t count) : slots_(std::bit_ceil(2 * count + 1)) {}

std::size_t merge_table::place(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key =
        static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
    std::size_t at = (key * 0x9e3779b97f4a7c15U) >> 20;  // the middle bits depend on all of the pair
    for (;; ++at) {
        at &= slots_.size() - 1;
        if (slots_[at].left < 0 || (slots_[at].left == left && slots_[at].right == right)) return at;
    }
}

void merge_table::put(std::int32_t left, std::int32_t right, merge what) {
    slots_[place(left, right)] = {left, right, what};
}

byte_pairs::byte_pairs(const json& model, const vocabulary& tokens, const std::string& where) {
    if (const json type = model.value("type", json("BPE")); type != "BPE")
        throw format_error(where + ".type is " + dump(type) + ", expected \"BPE\"");
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
        if (const json value = model.value(key, json()); !value.is_null() && value != "" && value != 0)
            throw format_error(where + "." + key + " is " + dump(value) + ", which is not supported");
    const json unknown = model.value("unk_token", json());
    if (!unknown.is_null() && !unknown.is_string())
        throw format_error(where + ".unk_token is " + dump(unknown) + ", expected a text");
    if (unknown.is_string()) unknown_ = tokens.find_in_model(unknown.get_ref<const std::string&>());
    fuse_unknown_ = flag(model, "fuse_unk", where);
    ignore_merges_ = flag(model, "ignore_merges", where);
    if (flag(model, "byte_fallback", where)) {
        bytes_.emplace();
        for (std::size_t b = 0; b < bytes_->size(); ++b)
            (*bytes_)[b] = tokens.find_in_model(name_of_byte(b)).value_or(none);
    }
    for (std::size_t point = 0; point < remembered_characters; ++point) {
        std::string character;
        append_code_point(character, static_cast<std::int32_t>(point));
        characters_.push_back(tokens.find_in_model(character).value_or(none));
    }
    if (!model.contains("merges")) throw format_error(where + " has no merges");
    read_merges(model["merges"], tokens, where + ".merges");
}

void byte_pairs::read_merges(const json& list, const vocabulary& tokens, const std::string& where) {
    if (!list.is_array()) throw format_error(where + " is not a list");
    merges_ = merge_table(list.size());
    std::int32_t rank = 0;
    for (const json& entry : list) {
        const auto fail = [&](const char* what) {
            throw format_error(where + "[" + std::to_string(&entry - &list[0]) + "] " + dump(entry) + " " + what);
        };
        // The first line of the merges.txt from which some files were made.
        if (entry.is_string() && entry.get_ref<const std::string&>().starts_with("#version")) continue;
        const auto halves = halves_of(entry);
        if (!halves) fail("is not a pair of tokens");
        const auto left = tokens.find_in_model(halves->first), right = tokens.find_in_model(halves->second),
                   both = tokens.find_in_model(halves->first + halves->second);
        if (!left || !right || !both) fail("names a token that is not in model.vocab");
        merges_.put(*left, *right, {rank++, *both});
    }
}

/// -1 if the character is no token.
std::int32_t byte_pairs::id_of_character(const vocabulary& tokens, std::string_view character) const {
    const auto point = static_cast<std::size_t>(first_code_point(character).value);
    return point < characters_.size() ? characters_[point] : tokens.find_in_model(character).value_or(none);
}

/// The tokens that a word begins as, one for each character: itself, else the tokens of its bytes, else the token for
/// unknown ones, else nothing.
std::vector<byte_pairs::symbol> byte_pairs::characters(const vocabulary& tokens, std::string_view word,
                                                       std::set<std::string>& left_out) const {
    std::vector<symbol> symbols;
    symbols.reserve(word.size());
    const auto add = [&](std::int32_t id) {
        const auto at = static_cast<std::int32_t>(symbols.size());
        if (at > 0) symbols.back().right = at;
        symbols.push_back({id, at - 1, none});
    };
    // As in the usual library, the token for unknown ones waits for the next character that is a token, or unknown and
    // not to be fused with it; tokens of bytes do not end the wait.
    bool unknown_waits = false;
    const auto release = [&] {
        if (std::exchange(unknown_waits, false)) add(*unknown_);
    };
    for (std::string_view rest = word; !rest.empty();) {
        const std::string_view character = rest.substr(0, first_code_point(rest).size);
        rest.remove_prefix(character.size());
        if (const auto id = id_of_character(tokens, character); id != none) {
            release();
            add(id);
            continue;
        }
        const auto byte_of = [&](char b) { return (*bytes_)[static_cast<unsigned char>(b)]; };
        if (bytes_ && std::none_of(character.begin(), character.end(), [&](char b) { return byte_of(b) == none; })) {
            for (const char b : character)
                add(byte_of(b));
            continue;
        }
        if (!unknown_) {
            left_out.emplace(character);
            continue;
        }
        if (!fuse_unknown_) release();
        unknown_waits = true;
    }
    release();
    return symbols;
}

/// Of all neighbours that may be merged the pair of the lowest rank is, the leftmost first, until none is left. A queue
/// over a linked list does it in O(n log n), however long the word is.
void byte_pairs::merge_all(std::vector<symbol>& symbols) const {
    struct candidate {
        merge_table::merge what;
        std::int32_t at, left, right;  // the ids when it was queued: it is stale if they have changed
        bool operator>(const candidate& other) const {
            return std::tie(what.rank, at) > std::tie(other.what.rank, other.at);
        }
    };
    std::vector<candidate> queue;
    const auto at = [&](std::int32_t k) -> symbol& { return symbols[static_cast<std::size_t>(k)]; };
    const auto candidate_at = [&](std::int32_t k) -> std::optional<candidate> {
        if (k == none || at(k).right == none) return {};
        const std::int32_t left = at(k).id, right = at(at(k).right).id;
        const auto* const found = merges_.find(left, right);
        if (!found) return {};
        return candidate{*found, k, left, right};
    };
    for (std::int32_t k = 0; k < static_cast<std::int32_t>(symbols.size()); ++k)
        if (const auto c = candidate_at(k)) queue.push_back(*c);
    std::make_heap(queue.begin(), queue.end(), std::greater<>());
    while (!queue.empty()) {
        std::pop_heap(queue.begin(), queue.end(), std::greater<>());
        const candidate best = queue.back();
        queue.pop_back();
        symbol& left = at(best.at);
        if (left.id != best.left || left.right == none || at(left.right).id != best.right) continue;
        symbol& right = at(left.right);
        left.id = best.what.result;
        right.id = none;
        left.right = right.right;
        if (left.right != none) at(left.right).left = best.at;
        for (const std::int32_t k : {left.left, best.at})
            if (const auto c = candidate_at(k)) {
                queue.push_back(*c);
                std::push_heap(queue.begin(), queue.end(), std::greater<>());
            }
    }
}

void byte_pairs::encode(const vocabulary& tokens, std::string_view word, std::vector<std::int32_t>& ids,
                        std::set<std::string>& left_out) const {
    if (ignore_merges_)
        if (const auto whole = tokens.find_in_model(word)) {
            ids.push_back(*whole);
            return;
        }
    if (word.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
        throw format_error("a text of " + std::to_string(word.size()) + " bytes is one word: it is too long");
    auto symbols = characters(tokens, word, left_out);
    merge_all(symbols);
    for (std::int32_t k = symbols.empty() ? none : 0; k != none; k = symbols[static_cast<std::size_t>(k)].right)
        ids.push_back(symbols[static_cast<std::size_t>(k)].id);
}

}  // namespace llama
