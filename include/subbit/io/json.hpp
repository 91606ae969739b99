// Reading JSON that others wrote, strictly: every error is a format_error of one line that names the file.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/io/mapped_file.hpp>
#include <subbit/io/quotes.hpp>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// Nothing in the one file of subbit::compiled that holds the functions of io.
#if defined(SUBBIT_IO_INSTANCES)
#define SUBBIT_IO_INLINE
#else
#define SUBBIT_IO_INLINE inline
#endif

namespace subbit {

#if !defined(SUBBIT_COMPILED_IO) || defined(SUBBIT_IO_INSTANCES)
SUBBIT_IO_INLINE std::string in_quotes(std::string_view text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
#endif

/// The JSON value of `text`; format_error beginning with `where` if it is not valid JSON or an object repeats a key.
inline nlohmann::json parse_json(std::string_view text, const std::string& where) {
    using nlohmann::json;
    std::vector<std::set<std::string>> keys;  // a set for each object that is not closed yet
    const auto watch = [&](int, json::parse_event_t event, json& value) {
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        if (event == json::parse_event_t::object_end) keys.pop_back();
        if (event == json::parse_event_t::key) {
            const auto& key = value.get_ref<const std::string&>();
            if (!keys.back().insert(key).second)
                throw format_error(where + ": the key " + in_quotes(key) + " is repeated");
        }
        return true;
    };
    try {
        return json::parse(text.begin(), text.end(), watch);
    } catch (const json::exception& e) {
        throw format_error(where + ": not valid JSON: " + e.what());
    }
}

/// The JSON value in the file `path`; io_error or format_error names it.
inline nlohmann::json read_json(const std::filesystem::path& path) {
    const mapped_file file(path);
    return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

}  // namespace subbit
