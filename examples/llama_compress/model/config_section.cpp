#include "model/config_section.hpp"

#include <subbit/core/error.hpp>

#include <algorithm>

namespace llama {

using nlohmann::json;

namespace {

std::string shown(const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return text;
}

}  // namespace

config_section::config_section(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) throw subbit::format_error(where_ + ": not a JSON object");
}

void config_section::fail(const std::string& key, const std::string& expected) const {
    const auto found = object_.find(key);
    const std::string value = found == object_.end() ? "is missing" : "is " + shown(*found);
    throw subbit::format_error(where_ + ": " + key + " " + value + ", expected " + expected);
}

std::vector<std::string> config_section::keys() const {
    std::vector<std::string> names;
    for (const auto& [key, value] : object_.items())
        names.push_back(key);
    return names;
}

index config_section::size(const std::string& key, std::optional<index> fallback, index most) const {
    if (!has(key) && fallback) return *fallback;
    if (!has(key) || !object_[key].is_number_integer() || object_[key] < 1 || object_[key] > most)
        fail(key, "an integer from 1 to " + std::to_string(most));
    return object_[key].get<index>();
}

double config_section::positive(const std::string& key, std::optional<double> fallback) const {
    if (!has(key) && fallback) return *fallback;
    if (!has(key) || !object_[key].is_number() || !(object_[key].get<double>() > 0)) fail(key, "a number above 0");
    return object_[key].get<double>();
}

bool config_section::flag(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!object_[key].is_boolean()) fail(key, "true or false");
    return object_[key].get<bool>();
}

std::string config_section::text(const std::string& key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!object_[key].is_string()) fail(key, "a string");
    return object_[key].get<std::string>();
}

std::string config_section::choice(const std::string& key, const std::vector<std::string>& texts) const {
    const std::string found = text(key, texts.front());
    if (std::find(texts.begin(), texts.end(), found) != texts.end()) return found;
    std::string list;
    for (const auto& t : texts)
        list += (list.empty() ? "\"" : &t == &texts.back() ? " or \"" : ", \"") + t + "\"";
    fail(key, list);
}

std::vector<std::int32_t> config_section::token_ids(const std::string& key, index vocab_size) const {
    std::vector<std::int32_t> ids;
    if (!has(key)) return ids;
    const json list = object_[key].is_array() ? object_[key] : json::array({object_[key]});
    for (const json& id : list) {
        if (!id.is_number_integer() || id < 0 || id >= vocab_size)
            fail(key, "token ids from 0 to vocab_size - 1, " + std::to_string(vocab_size - 1));
        ids.push_back(id.get<std::int32_t>());
    }
    return ids;
}

void config_section::refuse(const std::string& key) const {
    if (has(key) && object_[key] != false) fail(key, "null or false");
}

}  // namespace llama
