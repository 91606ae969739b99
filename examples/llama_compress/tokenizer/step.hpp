// One step of a tokenizer.json (a normalizer, pre-tokenizer, post-processor or decoder), read strictly.
#pragma once

#include "tokenizer/pattern.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace llama {

/// A JSON object with a type, and its place in the file. Every member throws format_error naming place, key and value
/// if the value is not of the requested kind.
class step {
  public:
    step(const nlohmann::json& value, std::string where);

    const std::string& type() const { return type_; }
    const std::string& where() const { return where_; }

    /// Throws: this step is not one of `known`.
    [[noreturn]] void unknown(const std::string& known) const;
    /// Throws: the value of `key` is not `expected`.
    [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

    bool has(const std::string& key) const { return value_.contains(key) && !value_[key].is_null(); }
    bool flag(const std::string& key, bool fallback) const;
    std::string text(const std::string& key) const;
    std::string text(const std::string& key, const std::string& fallback) const;
    /// A whole number from 0 to 10^6.
    std::size_t count(const std::string& key, std::size_t fallback) const;
    /// A text of one character.
    std::int32_t character(const std::string& key) const;
    /// {"String": text} or {"Regex": expression}.
    pattern search_pattern(const std::string& key) const;
    /// A list; its elements are steps at where.key[k].
    std::vector<step> list(const std::string& key) const;
    /// The raw value; null if there is none.
    const nlohmann::json& raw(const std::string& key) const;

  private:
    const nlohmann::json& value_;
    std::string where_, type_;
};

/// Where a Metaspace puts its mark before a text: always, first or never. Older files say add_prefix_space instead.
std::string metaspace_scheme(const step& s);

}  // namespace llama
