#include "tokenizer/vocabulary.hpp"

#include <subbit/core/error.hpp>
#include <subbit/io/json.hpp>

namespace llama {

using nlohmann::json;
using subbit::format_error;
using subbit::in_quotes;

std::int32_t vocabulary::id_of(const json& value, const std::string& where) const {
    if (!value.is_number_integer() || value < 0 || value >= id_limit_)
        throw format_error(where + " has the id " + value.dump(-1, ' ', false, json::error_handler_t::replace) +
                           ", expected one of 0 to " + std::to_string(id_limit_ - 1));
    return value.get<std::int32_t>();
}

void vocabulary::add(std::int32_t id, const std::string& name, bool of_model, const std::string& where) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= names_.size()) names_.resize(at + 1), of_model_.resize(at + 1);
    if (name.empty()) throw format_error(where + " has a token without a name");
    if (!names_[at].empty())
        throw format_error(where + " " + in_quotes(name) + " has the id " + std::to_string(id) + " of another token");
    names_[at] = name;
    of_model_[at] = of_model;
    ids_.emplace(name, id);
}

std::optional<std::int32_t> vocabulary::find(std::string_view name) const {
    const auto found = ids_.find(name);
    if (found == ids_.end()) return {};
    return found->second;
}

std::optional<std::int32_t> vocabulary::find_in_model(std::string_view name) const {
    const auto id = find(name);
    return id && of_model_[static_cast<std::size_t>(*id)] ? id : std::nullopt;
}

const std::string& vocabulary::name(std::int32_t id) const {
    if (!has(id))
        throw subbit::value_error("the token id " + std::to_string(id) + " is not one of the " +
                                  std::to_string(size()) + " tokens");
    return names_[static_cast<std::size_t>(id)];
}

}  // namespace llama
