// One object of a config.json: typed values, and errors that name file and key.
#pragma once

#include <subbit/core/matrix.hpp>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace llama {

using subbit::index;

/// The object must outlive the section. Every error is a format_error of the form "WHERE: KEY is VALUE, expected ...".
class config_section {
  public:
    /// format_error if `object` is not a JSON object; every message begins with `where`.
    config_section(const nlohmann::json& object, std::string where);

    [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

    /// Absent and null are the same.
    bool has(const std::string& key) const { return object_.contains(key) && !object_[key].is_null(); }
    /// Present, though it may be null.
    bool mentions(const std::string& key) const { return object_.contains(key); }
    const nlohmann::json& operator[](const std::string& key) const { return object_[key]; }
    std::vector<std::string> keys() const;
    /// The object of a key.
    config_section at(const std::string& key) const { return {object_[key], where_ + ": " + key}; }

    /// A whole number from 1 to `most`; without a fallback, an absent key is an error.
    index size(const std::string& key, std::optional<index> fallback = {},
               index most = std::numeric_limits<std::int32_t>::max()) const;
    double positive(const std::string& key, std::optional<double> fallback = {}) const;
    bool flag(const std::string& key, bool fallback = false) const;
    std::string text(const std::string& key, const std::string& fallback = {}) const;
    /// One of the texts; the first if the key is absent.
    std::string choice(const std::string& key, const std::vector<std::string>& texts) const;
    /// Token ids below `vocab_size`: none, one or a list.
    std::vector<std::int32_t> token_ids(const std::string& key, index vocab_size) const;
    /// fail() if the key has a value other than null or false; for features that a family does not have.
    void refuse(const std::string& key) const;

  private:
    const nlohmann::json& object_;
    std::string where_;
};

}  // namespace llama
