#include "tokenizer/tokenizer.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/mapped_file.hpp>

#include <algorithm>
#include <set>
#include <unordered_map>

namespace llama {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

namespace {

const json& member(const json& object, const char* key, const std::string& where) {
    if (!object.is_object() || !object.contains(key)) throw format_error(where + " has no " + key);
    return object[key];
}

const json& member_or_null(const json& object, const char* key) {
    static const json nothing;
    return object.contains(key) ? object[key] : nothing;
}

/// An id beyond the number of tokens is a fault of the file, and would ask for memory without bounds.
std::size_t id_limit_of(const json& document, const std::string& where) {
    const json& words = member(member(document, "model", where + ":"), "vocab", where + ": model");
    if (!words.is_object() || words.empty()) throw format_error(where + ": model.vocab holds no tokens");
    const json& added = member_or_null(document, "added_tokens");
    if (!added.is_null() && !added.is_array()) throw format_error(where + ": added_tokens is not a list");
    return words.size() + added.size();
}

/// Whether a pre-tokenizer that was parsed already ends in, or has, a step ByteLevel.
bool makes_byte_letters(const json& step) {
    if (!step.is_object()) return false;
    const json& steps = member_or_null(step, "pretokenizers");
    return step["type"] == "ByteLevel" || std::any_of(steps.begin(), steps.end(), makes_byte_letters);
}

void require_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const auto sequence = first_utf8_sequence(text.substr(at));
        if (sequence.what != utf8_sequence::kind::valid)
            throw format_error("the text is not UTF-8 at byte " + std::to_string(at));
        at += sequence.size;
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

tokenizer::tokenizer(const json& document, const std::string& where) : tokens_(id_limit_of(document, where)) {
    const json& model = document["model"];
    read_vocabulary(model["vocab"], where + ": model.vocab");
    pairs_.emplace(model, tokens_, where + ": model");
    normalizer_ = parse_normalizer(member_or_null(document, "normalizer"), where + ": normalizer");
    read_added_tokens(member_or_null(document, "added_tokens"), where + ": added_tokens");
    pre_tokenizer_ = parse_pre_tokenizer(member_or_null(document, "pre_tokenizer"), where + ": pre_tokenizer");
    around_ = parse_post_processor(member_or_null(document, "post_processor"), where + ": post_processor");
    for (const auto& side : {around_.before, around_.after})
        for (const std::int32_t id : side)
            if (!is_token(id))
                throw format_error(where + ": post_processor has the id " + std::to_string(id) +
                                   ", which is not a token");
    decoder_ = parse_decoder(member_or_null(document, "decoder"),
                             makes_byte_letters(member_or_null(document, "pre_tokenizer")), where + ": decoder");
}

void tokenizer::read_vocabulary(const json& list, const std::string& where) {
    for (const auto& [name, value] : list.items())
        tokens_.add(tokens_.id_of(value, where + " " + in_quotes(name)), name, true, where);
}

void tokenizer::read_added_tokens(const json& list, const std::string& where) {
    std::set<std::string> seen;
    std::vector<added_token> before, after;  // the normalizer
    for (const json& entry : list) {
        const json& content = member(entry, "content", where + ": an entry");
        if (!content.is_string() || content == "") throw format_error(where + ": an entry's content is not a text");
        const std::string text = content;
        const std::string name = where + " " + in_quotes(text);
        if (!seen.insert(text).second) throw format_error(name + " is repeated");
        const std::int32_t id = tokens_.id_of(member(entry, "id", name), name);
        if (const auto known = tokens_.find(text); !known)
            tokens_.add(id, text, false, where);
        else if (*known != id)
            throw format_error(name + " has the id " + std::to_string(id) + ", but in model.vocab " +
                               std::to_string(*known));
        const auto flag = [&](const char* key, bool fallback) {
            const json value = entry.value(key, json(fallback));
            if (!value.is_boolean()) throw format_error(name + ": " + key + " is not true or false");
            return value.get<bool>();
        };
        const bool special = flag("special", false), is_normalized = flag("normalized", !special);
        normalized_text written{text};
        if (is_normalized && normalizer_) normalizer_(written);
        if (written.text.empty()) throw format_error(name + " is empty once it is normalized, which is not supported");
        (is_normalized ? after : before)
            .push_back(
                {written.text, id, flag("single_word", false), flag("lstrip", false), flag("rstrip", false), special});
    }
    // Of two that look alike once they are normalized a special one wins.
    for (auto* tokens : {&before, &after})
        std::stable_partition(tokens->begin(), tokens->end(), [](const added_token& t) { return t.special; });
    added_ = added_token_finder(std::move(before));
    added_after_normalizer_ = added_token_finder(std::move(after));
}

/// One text on its way to ids.
class tokenizer::encoding {
  public:
    encoding(const tokenizer& t, std::string_view text, special_tokens specials, std::set<std::string>& left_out)
        : t_(t), text_(text), specials_(specials == special_tokens::recognized), left_out_(left_out) {}

    std::vector<std::int32_t> run() {
        t_.added_.find(
            text_, specials_, [&](std::string_view plain) { normalize(plain); },
            [&](std::int32_t id) { ids_.push_back(id); });
        return std::move(ids_);
    }

  private:
    void normalize(std::string_view plain) {
        const bool starts_text = plain.data() == text_.data();
        if (!t_.normalizer_) {
            split(plain, starts_text);
            return;
        }
        normalized_text changed{std::string(plain)};
        t_.normalizer_(changed);
        split(changed.text, starts_text && changed.keeps_start);
    }

    void split(std::string_view text, bool starts_text) {
        t_.added_after_normalizer_.find(
            text, specials_,
            [&](std::string_view plain) {
                t_.pre_tokenizer_({plain, starts_text && plain.data() == text.data()},
                                  [&](const word& w) { encode(w.text); });
            },
            [&](std::int32_t id) { ids_.push_back(id); });
    }

    /// Most words come often. Those that are long do not, and would fill the memory.
    void encode(std::string_view text) {
        if (text.size() > longest_remembered) {
            t_.pairs_->encode(t_.tokens_, text, ids_, left_out_);
            return;
        }
        auto found = words_.find(text);
        if (found == words_.end()) {
            found = words_.emplace(std::string(text), std::vector<std::int32_t>()).first;
            t_.pairs_->encode(t_.tokens_, text, found->second, left_out_);
        }
        ids_.insert(ids_.end(), found->second.begin(), found->second.end());
    }

    static constexpr std::size_t longest_remembered = 64;
    struct text_hash : std::hash<std::string_view> {
        using is_transparent = void;
    };

    const tokenizer& t_;
    std::string_view text_;
    bool specials_;
    std::set<std::string>& left_out_;
    std::vector<std::int32_t> ids_;
    std::unordered_map<std::string, std::vector<std::int32_t>, text_hash, std::equal_to<>> words_;
};

std::vector<std::int32_t> tokenizer::encode(std::string_view text, special_tokens specials,
                                            std::set<std::string>* left_out) const {
    require_utf8(text);
    std::set<std::string> nobody_asks;
    return encoding(*this, text, specials, left_out ? *left_out : nobody_asks).run();
}

std::vector<std::int32_t> tokenizer::encode_file(const std::filesystem::path& text, special_tokens specials,
                                                 std::set<std::string>* left_out) const {
    const subbit::mapped_file file(text);
    try {
        return encode({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, specials, left_out);
    } catch (const format_error& e) {
        throw format_error(text.string() + ": " + e.what());
    }
}

std::string tokenizer::decode(std::span<const std::int32_t> ids) const {
    stream_decoder stream(*this);
    std::string text;
    for (const std::int32_t id : ids)
        text += stream.add(id);
    return text + stream.finish();
}

stream_decoder::stream_decoder(const tokenizer& tokens) : tokens_(&tokens) {
    start();
}

void stream_decoder::start() {
    steps_.clear();
    for (const auto& make : tokens_->decoder_)
        steps_.push_back(make());
}

/// Tells a step a token, the next one what it passes on, and so forth; the last one's is text.
void stream_decoder::pass(std::size_t step, const std::string& token, std::string& text) {
    if (step == steps_.size())
        text += token;
    else
        steps_[step]->add(token, [&](const std::string& piece) { pass(step + 1, piece, text); });
}

std::string stream_decoder::add(std::int32_t id) {
    std::string text;
    pass(0, tokens_->tokens_.name(id), text);
    return text;
}

std::string stream_decoder::flush() {
    std::string text;
    for (std::size_t k = 0; k < steps_.size(); ++k)
        steps_[k]->finish([&](const std::string& piece) { pass(k + 1, piece, text); });
    return text;
}

std::string stream_decoder::finish() {
    const std::string text = flush();
    start();
    return text;
}

void stream_decoder::skip(std::span<const std::int32_t> ids) {
    for (const std::int32_t id : ids)
        add(id);
    flush();
}

}  // namespace llama
