// Tokens by id and by name.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace llama {

/// Names of tokens, as a tokenizer.json writes them; ids may have gaps.
class vocabulary {
  public:
    /// Ids from 0 to id_limit - 1.
    explicit vocabulary(std::size_t id_limit) : id_limit_(id_limit) {}

    /// A number from JSON as an id; format_error beginning with `where` if it is not an id.
    std::int32_t id_of(const nlohmann::json& value, const std::string& where) const;

    /// A token of the model, or one that was added to it. Adds a token; format_error beginning with `where` if the id
    /// is another token's. A name may be added once.
    void add(std::int32_t id, const std::string& name, bool of_model, const std::string& where);

    std::optional<std::int32_t> find(std::string_view name) const;
    /// The same among the model's tokens alone.
    std::optional<std::int32_t> find_in_model(std::string_view name) const;

    /// value_error for an id that is not a token.
    const std::string& name(std::int32_t id) const;
    bool has(std::int32_t id) const { return id >= 0 && id < size() && !names_[static_cast<std::size_t>(id)].empty(); }

    /// The largest id + 1.
    std::int32_t size() const { return static_cast<std::int32_t>(names_.size()); }

  private:
    struct text_hash : std::hash<std::string_view> {
        using is_transparent = void;
    };
    std::size_t id_limit_;
    std::vector<std::string> names_;  // empty: no token
    std::vector<bool> of_model_;
    std::unordered_map<std::string, std::int32_t, text_hash, std::equal_to<>> ids_;
};

}  // namespace llama
