#include "tokenizer/tokenizer.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/mapped_file.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <set>
#include <tuple>

namespace llama {
namespace {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

const json& member(const json& object, const char* key, const std::string& where) {
    if (!object.is_object() || !object.contains(key)) throw format_error(where + " has no " + key);
    return object[key];
}

std::int32_t token_id(const json& value, std::size_t limit, const std::string& where) {
    if (!value.is_number_integer() || value < 0 || value >= limit)
        throw format_error(where + " has the id " + value.dump(-1, ' ', false, json::error_handler_t::replace) +
                           ", expected one of 0 to " + std::to_string(limit - 1));
    return value.get<std::int32_t>();
}

/// Byte-level vocabularies write bytes as printable characters: those that are printable in Latin-1 as themselves, the
/// other 68 as the code points from 256 on.
std::array<int, 256 + 68> make_alphabet() {
    std::array<int, 256 + 68> byte_of{};
    byte_of.fill(-1);
    std::size_t next = 256;
    for (int b = 0; b < 256; ++b) {
        const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        byte_of[printable ? static_cast<std::size_t>(b) : next++] = b;
    }
    return byte_of;
}

/// The bytes that a vocabulary entry (valid UTF-8) stands for; nothing if it has a character outside the alphabet.
std::optional<std::string> bytes_of_entry(std::string_view entry) {
    static const auto alphabet = make_alphabet();
    std::string bytes;
    while (!entry.empty()) {
        const std::size_t size = first_utf8_sequence(entry).size;
        const auto unit = [&](std::size_t k) { return static_cast<unsigned char>(entry[k]); };
        const std::size_t point = size == 1   ? unit(0)
                                  : size == 2 ? (unit(0) & 0x1fu) << 6 | (unit(1) & 0x3fu)
                                              : 0x10000u;
        if (point >= alphabet.size() || alphabet[point] < 0) return {};
        bytes += static_cast<char>(alphabet[point]);
        entry.remove_prefix(size);
    }
    return bytes;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

/// Throws unless `model` is plain byte-level BPE.
void check_model(const json& model, const std::string& where) {
    if (!model.is_object()) throw format_error(where + " is not an object");
    if (model.value("type", json("BPE")) != "BPE") throw format_error(where + ".type is not \"BPE\"");
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
        const json value = model.value(key, json());
        if (!value.is_null() && value != "" && value != false)
            throw format_error(where + "." + key + " is set, which is not supported");
    }
}

}  // namespace

tokenizer::tokenizer(const std::filesystem::path& tokenizer_json)
    : tokenizer(subbit::read_json(tokenizer_json), tokenizer_json.string()) {
    const auto config_path = tokenizer_json.parent_path() / "tokenizer_config.json";
    if (!std::filesystem::exists(config_path)) return;
    const json config = subbit::read_json(config_path);
    const auto id_of = [&](const char* key) -> std::optional<std::int32_t> {
        json name = config.is_object() ? config.value(key, json()) : json();
        if (name.is_object()) name = name.value("content", json());
        if (!name.is_string()) return {};
        const auto id = find(name.get_ref<const std::string&>());
        if (!id)
            throw format_error(config_path.string() + ": " + key + " " + name.dump() + " is not in the vocabulary");
        return id;
    };
    bos_id_ = id_of("bos_token");
    eos_id_ = id_of("eos_token");
}

tokenizer::tokenizer(const json& document, const std::string& where) {
    const json& model = member(document, "model", where + ":");
    check_model(model, where + ": model");
    const json& vocabulary = member(model, "vocab", where + ": model");
    if (!vocabulary.is_object() || vocabulary.empty()) throw format_error(where + ": model.vocab holds no tokens");
    const json added = document.value("added_tokens", json::array());
    if (!added.is_array()) throw format_error(where + ": added_tokens is not a list");
    const json normalizer = document.value("normalizer", json());
    if (!normalizer.is_null()) throw format_error(where + ": normalizer is set, which is not supported");

    // An id beyond the number of tokens is a fault of the file, and would ask for memory without bounds.
    const std::size_t id_limit = vocabulary.size() + added.size();
    read_vocabulary(vocabulary, id_limit, where + ": model.vocab");
    read_added_tokens(added, vocabulary, id_limit, where + ": added_tokens");
    read_merges(member(model, "merges", where + ": model"), vocabulary, where + ": model.merges");
    ignore_merges_ = model.value("ignore_merges", json(false)) == true;
    splitters_ = parse_pre_tokenizer(member(document, "pre_tokenizer", where + ":"), where + ": pre_tokenizer");
}

tokenizer::token& tokenizer::new_token(std::int32_t id, const std::string& text, const std::string& where) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens_.size()) tokens_.resize(at + 1);
    if (tokens_[at].used)
        throw format_error(where + " " + in_quotes(text) + " has the id " + std::to_string(id) + " of another token");
    tokens_[at] = {text, true, false};
    return tokens_[at];
}

void tokenizer::read_vocabulary(const json& vocabulary, std::size_t id_limit, const std::string& where) {
    for (const auto& [entry, value] : vocabulary.items()) {
        const std::int32_t id = token_id(value, id_limit, where + " " + in_quotes(entry));
        token& t = new_token(id, entry, where);
        const auto bytes = bytes_of_entry(entry);
        if (!bytes) continue;
        t.bytes = *bytes;
        ids_.emplace(*bytes, id);
    }
    for (std::size_t b = 0; b < byte_ids_.size(); ++b) {
        const auto found = ids_.find(std::string(1, static_cast<char>(b)));
        byte_ids_[b] = found == ids_.end() ? -1 : found->second;
    }
}

void tokenizer::read_added_tokens(const json& list, const json& vocabulary, std::size_t id_limit,
                                  const std::string& where) {
    std::set<std::string> seen;
    for (const json& entry : list) {
        const json& content = member(entry, "content", where + ": an entry");
        if (!content.is_string() || content == "") throw format_error(where + ": an entry's content is not a text");
        const std::string text = content;
        const std::string name = where + " " + in_quotes(text);
        if (!seen.insert(text).second) throw format_error(name + " is repeated");
        for (const char* key : {"single_word", "lstrip", "rstrip"})
            if (entry.value(key, json(false)) != false)
                throw format_error(name + ": " + key + " is set, which is not supported");
        const std::int32_t id = token_id(member(entry, "id", name), id_limit, name);
        const auto known = vocabulary.find(text);
        if (known != vocabulary.end() && *known != id)
            throw format_error(name + " has the id " + std::to_string(id) + ", but in model.vocab " + known->dump());
        token& t = known != vocabulary.end() ? tokens_[static_cast<std::size_t>(id)] : new_token(id, text, where);
        // An id stands for one text: here as it is, in the vocabulary by the letters of its bytes.
        if (const auto bytes = bytes_of_entry(text); known != vocabulary.end() && bytes && *bytes != text)
            throw format_error(name + " stands for other bytes in model.vocab");
        t.bytes = text;
        t.special = entry.value("special", json(false)) == true;
        added_tokens_[static_cast<unsigned char>(text[0])].push_back({text, id, t.special});
    }
    for (auto& same_start : added_tokens_)
        std::stable_sort(same_start.begin(), same_start.end(),
                         [](const added_token& a, const added_token& b) { return a.text.size() > b.text.size(); });
}

void tokenizer::read_merges(const json& list, const json& vocabulary, const std::string& where) {
    if (!list.is_array()) throw format_error(where + " is not a list");
    std::int32_t rank = 0;
    for (const json& entry : list) {
        const auto fail = [&](const char* what) {
            throw format_error(where + "[" + std::to_string(rank) + "] " +
                               entry.dump(-1, ' ', false, json::error_handler_t::replace) + " " + what);
        };
        std::string left, right;
        if (entry.is_string()) {  // "a b", or in newer files ["a", "b"]
            const auto& text = entry.get_ref<const std::string&>();
            const std::size_t space = text.find(' ');
            if (space == std::string::npos) fail("is not a pair of tokens");
            left = text.substr(0, space), right = text.substr(space + 1);
        } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string()) {
            left = entry[0], right = entry[1];
        } else {
            fail("is not a pair of tokens");
        }
        const auto a = vocabulary.find(left), b = vocabulary.find(right), both = vocabulary.find(left + right);
        if (a == vocabulary.end() || b == vocabulary.end() || both == vocabulary.end())
            fail("names a token that is not in model.vocab");
        merges_.emplace(pair_key(*a, *b), merge{rank++, *both});
    }
}

std::vector<std::int32_t> tokenizer::encode(std::string_view text, bool specials) const {
    for (std::size_t at = 0; at < text.size();) {
        const auto sequence = first_utf8_sequence(text.substr(at));
        if (sequence.what != utf8_sequence::kind::valid)
            throw format_error("the text is not UTF-8 at byte " + std::to_string(at));
        at += sequence.size;
    }
    std::vector<std::int32_t> ids;
    word_cache cache;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
        const added_token* added = added_at(text.substr(at), specials);
        if (!added) {
            ++at;
            continue;
        }
        encode_plain(text.substr(done, at - done), cache, ids);
        ids.push_back(added->id);
        done = at += added->text.size();
    }
    encode_plain(text.substr(done), cache, ids);
    return ids;
}

std::vector<std::int32_t> tokenizer::encode_file(const std::filesystem::path& text) const {
    const subbit::mapped_file file(text);
    try {
        return encode({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
    } catch (const format_error& e) {
        throw format_error(text.string() + ": " + e.what());
    }
}

/// The longest added token that `text` starts with; those that are not special are always recognized.
const tokenizer::added_token* tokenizer::added_at(std::string_view text, bool specials) const {
    for (const added_token& added : added_tokens_[static_cast<unsigned char>(text[0])])
        if ((specials || !added.special) && text.starts_with(added.text)) return &added;
    return nullptr;
}

void tokenizer::encode_plain(std::string_view text, word_cache& cache, std::vector<std::int32_t>& ids) const {
    std::vector<std::string_view> words, next;
    if (!text.empty()) words.push_back(text);
    for (const splitter& s : splitters_) {
        for (const std::string_view word : words)
            s.split(word, next);
        words.swap(next);
        next.clear();
    }
    for (const std::string_view word : words) {
        auto found = cache.find(word);
        if (found == cache.end()) found = cache.emplace(word, encode_word(word)).first;
        ids.insert(ids.end(), found->second.begin(), found->second.end());
    }
}

/// Byte pair encoding: of all neighbours that may be merged the pair of the lowest rank is, the leftmost first, until
/// none is left. A queue over a linked list does it in O(n log n), however long the word is.
std::vector<std::int32_t> tokenizer::encode_word(std::string_view word) const {
    if (ignore_merges_)
        if (const auto whole = ids_.find(word); whole != ids_.end()) return {whole->second};

    constexpr std::size_t none = static_cast<std::size_t>(-1);
    struct symbol {
        std::int32_t id;  // -1 once it has been merged into its left neighbour
        std::size_t left, right;
    };
    std::vector<symbol> symbols;
    for (std::size_t k = 0; k < word.size(); ++k) {
        const auto byte = static_cast<unsigned char>(word[k]);
        if (byte_ids_[byte] < 0)
            throw format_error("the vocabulary does not cover the byte " + std::to_string(byte) + " of " +
                               in_quotes(word.substr(0, 40)));
        symbols.push_back({byte_ids_[byte], k == 0 ? none : k - 1, k + 1 == word.size() ? none : k + 1});
    }

    struct candidate {
        merge what;
        std::size_t at;
        std::int32_t left, right;  // the ids when it was queued: it is stale if they have changed
        bool operator>(const candidate& other) const {
            return std::tie(what.rank, at) > std::tie(other.what.rank, other.at);
        }
    };
    std::priority_queue<candidate, std::vector<candidate>, std::greater<>> queue;
    const auto consider = [&](std::size_t at) {
        if (at == none || symbols[at].right == none) return;
        const std::int32_t left = symbols[at].id, right = symbols[symbols[at].right].id;
        if (const auto found = merges_.find(pair_key(left, right)); found != merges_.end())
            queue.push({found->second, at, left, right});
    };
    for (std::size_t k = 0; k < symbols.size(); ++k)
        consider(k);
    while (!queue.empty()) {
        const candidate best = queue.top();
        queue.pop();
        symbol& left = symbols[best.at];
        if (left.id != best.left || left.right == none || symbols[left.right].id != best.right) continue;
        symbol& right = symbols[left.right];
        left.id = best.what.result;
        right.id = -1;
        left.right = right.right;
        if (left.right != none) symbols[left.right].left = best.at;
        consider(left.left);
        consider(best.at);
    }

    std::vector<std::int32_t> ids;
    for (std::size_t k = symbols.empty() ? none : 0; k != none; k = symbols[k].right)
        ids.push_back(symbols[k].id);
    return ids;
}

std::string_view tokenizer::bytes_of(std::int32_t id) const {
    if (id < 0 || id >= vocab_size() || !tokens_[static_cast<std::size_t>(id)].used)
        throw subbit::value_error("the token id " + std::to_string(id) + " is not one of the " +
                                  std::to_string(vocab_size()) + " tokens");
    return tokens_[static_cast<std::size_t>(id)].bytes;
}

bool tokenizer::is_special(std::int32_t id) const {
    return id >= 0 && id < vocab_size() && tokens_[static_cast<std::size_t>(id)].special;
}

std::optional<std::int32_t> tokenizer::find(std::string_view text) const {
    if (!text.empty())
        for (const added_token& added : added_tokens_[static_cast<unsigned char>(text[0])])
            if (added.text == text) return added.id;
    const auto found = ids_.find(text);
    if (found == ids_.end()) return {};
    return found->second;
}

std::string tokenizer::decode(std::span<const std::int32_t> ids) const {
    stream_decoder decoder(*this);
    std::string text;
    for (const std::int32_t id : ids)
        text += decoder.add(id);
    return text + decoder.finish();
}

namespace {
constexpr std::string_view replacement_character = "\xef\xbf\xbd";  // U+FFFD
}

std::string stream_decoder::add(std::int32_t id) {
    pending_ += tokens_->bytes_of(id);
    std::string text;
    std::size_t done = 0;
    while (done < pending_.size()) {
        const std::string_view rest = std::string_view(pending_).substr(done);
        const auto sequence = first_utf8_sequence(rest);
        if (sequence.what == utf8_sequence::kind::incomplete) break;
        text += sequence.what == utf8_sequence::kind::valid ? rest.substr(0, sequence.size) : replacement_character;
        done += sequence.size;
    }
    pending_.erase(0, done);
    return text;
}

std::string stream_decoder::finish() {
    if (pending_.empty()) return {};
    pending_.clear();
    return std::string(replacement_character);
}

}  // namespace llama
