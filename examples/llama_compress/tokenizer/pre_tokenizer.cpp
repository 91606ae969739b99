#include "tokenizer/pre_tokenizer.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <array>

namespace llama {
namespace {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

// GPT-2's words: contractions; letters, digits or other signs, each with the space before them; and white space, of
// which the last one is left to the word that follows.
constexpr const char* gpt2_words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string message_of(int code) {
    std::array<PCRE2_UCHAR8, 256> text{};
    pcre2_get_error_message_8(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

bool flag(const json& step, const char* key, bool fallback, const std::string& where) {
    if (!step.contains(key)) return fallback;
    if (!step[key].is_boolean()) throw format_error(where + "." + key + " is not true or false");
    return step[key].get<bool>();
}

/// Appends the splitters of one step; true for the byte-level one, with which the list ends.
bool parse_step(const json& step, const std::string& where, std::vector<splitter>& splitters) {
    if (!step.is_object() || !step.contains("type") || !step["type"].is_string())
        throw format_error(where + " has no type");
    const auto& type = step["type"].get_ref<const std::string&>();
    if (type == "ByteLevel") {
        if (flag(step, "add_prefix_space", true, where))
            throw format_error(where + ".add_prefix_space is true, which is not supported");
        if (flag(step, "use_regex", true, where)) splitters.emplace_back(gpt2_words, false, where);
        return true;
    }
    if (type == "Digits") {
        splitters.emplace_back(flag(step, "individual_digits", false, where) ? R"(\p{N})" : R"(\p{N}+)", false, where);
        return false;
    }
    if (type == "Split") {
        const json pattern = step.value("pattern", json());
        const bool literal = pattern.is_object() && pattern.contains("String");
        const json text = pattern.is_object() ? pattern.value(literal ? "String" : "Regex", json()) : json();
        if (!text.is_string()) throw format_error(where + ".pattern is neither a Regex nor a String");
        if (step.value("behavior", json()) != "Isolated" || flag(step, "invert", false, where))
            throw format_error(where + " has a behavior other than Isolated, which is not supported");
        splitters.emplace_back(text.get<std::string>(), literal, where);
        return false;
    }
    throw format_error(where + ".type " + in_quotes(type) + " is unknown, expected ByteLevel, Digits or Split");
}

}  // namespace

splitter::splitter(const std::string& pattern, bool literal, const std::string& where) : where_(where) {
    int error = 0;
    PCRE2_SIZE at = 0;
    const std::uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
    code_.reset(
        pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(pattern.data()), pattern.size(), options, &error, &at, nullptr),
        pcre2_code_free_8);
    if (!code_)
        throw format_error(where + ": the regular expression " + in_quotes(pattern) + " is invalid at position " +
                           std::to_string(at) + ": " + message_of(error));
    compiled_to_machine_code_ = pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

void splitter::split(std::string_view text, std::vector<std::string_view>& pieces) const {
    const std::unique_ptr<pcre2_match_data_8, decltype(&pcre2_match_data_free_8)> match(
        pcre2_match_data_create_8(1, nullptr), pcre2_match_data_free_8);
    if (!match) throw std::bad_alloc();
    const auto run = compiled_to_machine_code_ ? pcre2_jit_match_8 : pcre2_match_8;
    const auto* subject = reinterpret_cast<PCRE2_SPTR8>(text.data());
    for (std::size_t done = 0; done < text.size();) {
        // The text was checked once, by the caller: checking it here again at every word would cost its square.
        const int found =
            run(code_.get(), subject, text.size(), done, PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK, match.get(), nullptr);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            throw format_error(where_ + ": the regular expression gives up: " + message_of(found));
        const PCRE2_SIZE* const range = pcre2_get_ovector_pointer_8(match.get());
        const std::size_t begin = found < 0 ? text.size() : range[0], end = found < 0 ? text.size() : range[1];
        if (begin < done || end < begin) throw format_error(where_ + ": the regular expression matches backwards");
        if (begin > done) pieces.push_back(text.substr(done, begin - done));
        if (end > begin) pieces.push_back(text.substr(begin, end - begin));
        done = end;
    }
}

std::vector<splitter> parse_pre_tokenizer(const json& pre_tokenizer, const std::string& where) {
    const bool sequence = pre_tokenizer.is_object() && pre_tokenizer.value("type", json()) == "Sequence";
    const json steps = sequence ? pre_tokenizer.value("pretokenizers", json()) : json::array({pre_tokenizer});
    if (!steps.is_array()) throw format_error(where + " has no list of pretokenizers");
    std::vector<splitter> splitters;
    bool byte_level = false;
    for (const json& step : steps) {
        if (byte_level) throw format_error(where + " goes on after ByteLevel, which is not supported");
        byte_level = parse_step(step, where, splitters);
    }
    if (!byte_level)
        throw format_error(where + " does not end with ByteLevel: only byte-level tokenizers are supported");
    return splitters;
}

}  // namespace llama
