#include "model/model_directory.hpp"

#include "model/config_section.hpp"

#include <subbit/io/json.hpp>

namespace llama {

std::set<std::int32_t> model_directory::end_tokens() const {
    std::set<std::int32_t> ends(config_.eos_token_ids.begin(), config_.eos_token_ids.end());
    const auto file = path_ / "generation_config.json";
    if (!std::filesystem::exists(file)) return ends;
    const auto document = subbit::read_json(file);
    const auto more = config_section(document, file.string()).token_ids("eos_token_id", config_.vocab_size);
    ends.insert(more.begin(), more.end());
    return ends;
}

std::set<std::int32_t> model_directory::end_tokens(const tokenizer& words) const {
    auto ends = end_tokens();
    if (words.eos_id()) ends.insert(*words.eos_id());
    return ends;
}

}  // namespace llama
