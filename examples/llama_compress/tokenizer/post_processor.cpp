#include "tokenizer/post_processor.hpp"

#include "tokenizer/step.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

#include <limits>

namespace llama {
namespace {

using nlohmann::json;

/// The ids of a special token that a template names.
std::vector<std::int32_t> ids_of(const step& s, const json& token) {
    const json& specials = s.raw("special_tokens");
    const json name = token.is_object() ? token.value("id", json()) : json();
    if (!name.is_string() || !specials.is_object() || !specials.contains(name.get_ref<const std::string&>()))
        s.refuse("special_tokens", "an entry for " + name.dump(-1, ' ', false, json::error_handler_t::replace));
    const json& entry = specials[name.get_ref<const std::string&>()];
    const json ids = entry.is_object() ? entry.value("ids", json()) : json();
    if (!ids.is_array()) s.refuse("special_tokens", "ids for " + subbit::in_quotes(name.get<std::string>()));
    std::vector<std::int32_t> result;
    for (const json& id : ids) {
        if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<std::int32_t>::max())
            s.refuse("special_tokens", "ids for " + subbit::in_quotes(name.get<std::string>()));
        result.push_back(id.get<std::int32_t>());
    }
    return result;
}

/// Puts what the template has around the text A around the tokens that are there.
void add_template(const step& s, surrounding_tokens& around) {
    const json& parts = s.raw("single");
    if (!parts.is_array()) s.refuse("single", "a list");
    surrounding_tokens own;
    bool after_text = false;
    for (const json& part : parts) {
        const json sequence = part.is_object() ? part.value("Sequence", json()) : json();
        const json special = part.is_object() ? part.value("SpecialToken", json()) : json();
        if (sequence.is_object() && sequence.value("id", json()) == "A" && !after_text) {
            after_text = true;
        } else if (special.is_object()) {
            auto& side = after_text ? own.after : own.before;
            const auto ids = ids_of(s, special);
            side.insert(side.end(), ids.begin(), ids.end());
        } else {
            s.refuse("single", "special tokens and one Sequence A");
        }
    }
    if (!after_text) s.refuse("single", "special tokens and one Sequence A");
    around.before.insert(around.before.begin(), own.before.begin(), own.before.end());
    around.after.insert(around.after.end(), own.after.begin(), own.after.end());
}

void add_step(const step& s, surrounding_tokens& around) {
    if (s.type() == "Sequence") {
        for (const step& inner : s.list("processors"))
            add_step(inner, around);
    } else if (s.type() == "TemplateProcessing") {
        add_template(s, around);
    } else if (s.type() != "ByteLevel") {  // which moves offsets alone
        s.unknown("ByteLevel, Sequence or TemplateProcessing");
    }
}

}  // namespace

surrounding_tokens parse_post_processor(const json& value, const std::string& where) {
    surrounding_tokens around;
    if (!value.is_null()) add_step(step(value, where), around);
    return around;
}

}  // namespace llama
