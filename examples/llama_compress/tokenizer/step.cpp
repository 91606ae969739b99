#include "tokenizer/step.hpp"

#include "tokenizer/utf8.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

namespace llama {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

step::step(const json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object() || !value.contains("type") || !value["type"].is_string())
        throw format_error(where_ + " has no type");
    type_ = value["type"].get<std::string>();
}

void step::unknown(const std::string& known) const {
    throw format_error(where_ + ".type " + in_quotes(type_) + " is unknown, expected " + known);
}

void step::refuse(const std::string& key, const std::string& expected) const {
    throw format_error(where_ + " (" + type_ + "): " + key + " is " +
                       raw(key).dump(-1, ' ', false, json::error_handler_t::replace) + ", expected " + expected);
}

const json& step::raw(const std::string& key) const {
    static const json nothing;
    return value_.contains(key) ? value_[key] : nothing;
}

bool step::flag(const std::string& key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!raw(key).is_boolean()) refuse(key, "true or false");
    return raw(key).get<bool>();
}

std::string step::text(const std::string& key) const {
    if (!raw(key).is_string()) refuse(key, "a text");
    return raw(key).get<std::string>();
}

std::string step::text(const std::string& key, const std::string& fallback) const {
    return has(key) ? text(key) : fallback;
}

std::size_t step::count(const std::string& key, std::size_t fallback) const {
    if (!has(key)) return fallback;
    if (!raw(key).is_number_integer() || raw(key) < 0 || raw(key) > 1000000) refuse(key, "a whole number from 0");
    return raw(key).get<std::size_t>();
}

std::int32_t step::character(const std::string& key) const {
    const std::string value = text(key);
    if (value.empty() || first_code_point(value).size != value.size()) refuse(key, "one character");
    return first_code_point(value).value;
}

pattern step::search_pattern(const std::string& key) const {
    const json& value = raw(key);
    const bool literal = value.is_object() && value.contains("String");
    const char* const kind = literal ? "String" : "Regex";
    if (!value.is_object() || !value.contains(kind) || !value[kind].is_string()) refuse(key, "a Regex or a String");
    const auto& what = value[kind].get_ref<const std::string&>();
    return literal ? text_pattern(what, where_) : regex_pattern(what, where_);
}

std::vector<step> step::list(const std::string& key) const {
    const json& value = raw(key);
    if (!value.is_array()) refuse(key, "a list");
    std::vector<step> steps;
    for (std::size_t k = 0; k < value.size(); ++k)
        steps.emplace_back(value[k], where_ + "." + key + "[" + std::to_string(k) + "]");
    return steps;
}

std::string metaspace_scheme(const step& s) {
    const bool prefix = s.flag("add_prefix_space", true);
    std::string scheme = s.text("prepend_scheme", prefix ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never")
        s.refuse("prepend_scheme", "always, first or never");
    if (!prefix && scheme != "never") s.refuse("prepend_scheme", "never, as add_prefix_space is false");
    return scheme;
}

}  // namespace llama
