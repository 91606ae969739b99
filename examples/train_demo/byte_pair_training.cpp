#include "byte_pair_training.hpp"

#include <tokenizer/byte_level.hpp>
#include <tokenizer/pre_tokenizer.hpp>

#include <subbit/core/error.hpp>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace train_demo {

namespace {

struct word {
    std::vector<std::size_t> ids;
    std::size_t count = 0;
};

using id_pair = std::pair<std::size_t, std::size_t>;

std::vector<word> count_words(std::string_view text, const nlohmann::json& pre_tokenizer) {
    std::map<std::string, std::size_t> counts;
    llama::parse_pre_tokenizer(pre_tokenizer, "pre_tokenizer")(
        {text, true}, [&](const llama::word& piece) { ++counts[*llama::bytes_of_letters(piece.text)]; });
    std::vector<word> words;
    for (const auto& [piece, count] : counts) {
        word w;
        w.count = count;
        for (const char c : piece)
            w.ids.push_back(static_cast<unsigned char>(c));
        words.push_back(std::move(w));
    }
    return words;
}

id_pair most_frequent(const std::vector<word>& words) {
    std::map<id_pair, std::size_t> counts;
    for (const word& w : words)
        for (std::size_t k = 0; k + 1 < w.ids.size(); ++k)
            counts[{w.ids[k], w.ids[k + 1]}] += w.count;
    id_pair best{};
    std::size_t top = 0;
    for (const auto& [pair, count] : counts)
        if (count > top) best = pair, top = count;
    if (top == 0) throw subbit::value_error("the text has too few different words for the vocabulary");
    return best;
}

void merge(std::vector<word>& words, const id_pair& pair, std::size_t id) {
    for (word& w : words) {
        std::vector<std::size_t> merged;
        for (std::size_t k = 0; k < w.ids.size(); ++k) {
            const bool here = k + 1 < w.ids.size() && w.ids[k] == pair.first && w.ids[k + 1] == pair.second;
            merged.push_back(here ? id : w.ids[k]);
            k += here;
        }
        w.ids = std::move(merged);
    }
}

}  // namespace

nlohmann::ordered_json train_byte_pairs(std::string_view text, std::size_t vocabulary, const std::string& end_of_text) {
    if (vocabulary < 257) throw subbit::value_error("a byte-level vocabulary has at least 257 entries");
    const nlohmann::ordered_json pre_tokenizer = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
    auto words = count_words(text, nlohmann::json(pre_tokenizer));
    std::vector<std::string> entries;
    for (int b = 0; b < 256; ++b)
        entries.push_back(llama::letters_of(std::string(1, static_cast<char>(b))));
    std::map<std::string, std::size_t> ids;
    for (std::size_t id = 0; id < entries.size(); ++id)
        ids[entries[id]] = id;
    std::vector<std::string> merges;
    while (entries.size() + 1 < vocabulary) {
        const auto pair = most_frequent(words);
        const std::string left = entries[pair.first], right = entries[pair.second];
        merges.push_back(left + " " + right);
        const auto [found, added] = ids.emplace(left + right, entries.size());  // two merges may make the same token
        if (added) entries.push_back(left + right);
        merge(words, pair, found->second);
    }
    nlohmann::ordered_json vocab;
    for (std::size_t id = 0; id < entries.size(); ++id)
        vocab[entries[id]] = id;
    const nlohmann::ordered_json special = {{"id", entries.size()}, {"content", end_of_text}, {"single_word", false},
                                            {"lstrip", false},      {"rstrip", false},        {"normalized", false},
                                            {"special", true}};
    nlohmann::ordered_json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
    document["added_tokens"] = nlohmann::ordered_json::array({special});
    document["normalizer"] = nullptr;
    document["pre_tokenizer"] = pre_tokenizer;
    document["post_processor"] = nullptr;
    document["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
    document["model"] = {{"type", "BPE"},
                         {"dropout", nullptr},
                         {"unk_token", nullptr},
                         {"fuse_unk", false},
                         {"continuing_subword_prefix", nullptr},
                         {"end_of_word_suffix", nullptr},
                         {"byte_fallback", false}};
    document["model"]["vocab"] = vocab;
    document["model"]["merges"] = merges;
    return document;
}

}  // namespace train_demo
