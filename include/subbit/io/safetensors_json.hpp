// Where the readers and writers of safetensors meet JSON. Their other headers name no JSON library, so a program that
// links subbit::compiled, which has this file's code, does not compile one.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/io/dtype.hpp>
#include <subbit/io/json.hpp>
#include <subbit/io/safetensors_header.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace subbit {

namespace detail {

/// One reading of a file.
class safetensors_parser {
  public:
    explicit safetensors_parser(const std::string& label) : label_(label) {}

    safetensors_contents parse(std::span<const std::byte> file) {
        std::uint64_t header_size = 0;
        if (file.size() < sizeof header_size)
            fail("has " + std::to_string(file.size()) + " bytes, too few for a safetensors header");
        std::memcpy(&header_size, file.data(), sizeof header_size);
        const std::uint64_t rest = file.size() - sizeof header_size;
        if (header_size > rest || header_size > longest_header)
            fail("claims a header of " + std::to_string(header_size) + " bytes, but " + std::to_string(rest) +
                 " bytes follow");
        const auto* text = reinterpret_cast<const char*>(file.data()) + sizeof header_size;
        const auto header = parse_json({text, static_cast<std::size_t>(header_size)}, label_);
        if (!header.is_object()) fail("the header is not a JSON object");

        const auto data = file.subspan(sizeof header_size + static_cast<std::size_t>(header_size));
        std::vector<std::pair<byte_range, tensor_info>> found;
        for (const auto& [name, value] : header.items()) {
            if (name == "__metadata__")
                read_metadata(value);
            else
                found.push_back(read_tensor(name, value, data));
        }
        std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
            return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
        });
        std::uint64_t covered = 0;
        for (auto& [range, tensor] : found) {
            if (range.begin < covered) fail(tensor.name, "overlaps the tensor before it" + text_of(range));
            if (range.begin > covered) fail(tensor.name, "leaves a hole of unused bytes before it" + text_of(range));
            covered = range.end;
            contents_.tensors.push_back(std::move(tensor));
        }
        if (covered != data.size())
            fail("the tensors cover " + std::to_string(covered) + " bytes, but the file holds " +
                 std::to_string(data.size()));
        return std::move(contents_);
    }

  private:
    static constexpr std::uint64_t longest_header = 100'000'000;  // the format's own limit

    struct byte_range {
        std::uint64_t begin, end;
    };

    [[noreturn]] void fail(const std::string& what) const { throw format_error(label_ + ": " + what); }
    [[noreturn]] void fail(const std::string& name, const std::string& what) const {
        fail("tensor " + in_quotes(name) + " " + what);
    }

    void read_metadata(const nlohmann::json& value) {
        if (!value.is_object()) fail("__metadata__ is not an object");
        for (const auto& [key, text] : value.items()) {
            if (!text.is_string()) fail("__metadata__ " + in_quotes(key) + " is not a string");
            contents_.metadata[key] = text.get<std::string>();
        }
    }

    std::pair<byte_range, tensor_info> read_tensor(const std::string& name, const nlohmann::json& value,
                                                   std::span<const std::byte> data) const {
        const auto member = [&](const char* key) -> const nlohmann::json& {
            if (!value.is_object() || !value.contains(key)) fail(name, std::string("has no ") + key);
            return value[key];
        };
        const auto unsigned_list = [&](const char* key) {
            std::vector<std::uint64_t> list;
            if (!member(key).is_array()) fail(name, std::string("has a ") + key + " that is not a list");
            for (const auto& entry : member(key)) {
                if (!entry.is_number_unsigned())
                    fail(name, std::string("has a ") + key + " with " + shown(entry) + ", expected integers from 0");
                list.push_back(entry.get<std::uint64_t>());
            }
            return list;
        };

        tensor_info tensor{name, read_dtype(name, member("dtype")), {}, {}};
        constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<index>::max());
        std::uint64_t size = static_cast<std::uint64_t>(size_of(tensor.type));
        bool empty = false;
        for (const std::uint64_t extent : unsigned_list("shape")) {
            empty = empty || extent == 0;
            if (extent > most || (extent > 1 && size > most / extent)) fail(name, "has a shape beyond all memory");
            size *= std::max<std::uint64_t>(extent, 1);
            tensor.shape.push_back(static_cast<index>(extent));
        }
        if (empty) size = 0;

        const auto offsets = unsigned_list("data_offsets");
        if (offsets.size() != 2) fail(name, "has " + std::to_string(offsets.size()) + " data_offsets, expected 2");
        const byte_range range{offsets[0], offsets[1]};
        if (range.begin > range.end || range.end > data.size())
            fail(name, "lies outside the " + std::to_string(data.size()) + " bytes of data" + text_of(range));
        if (range.end - range.begin != size)
            fail(name, std::string("of ") + std::string(name_of(tensor.type)) + " " + shape_text(tensor.shape) +
                           " needs " + std::to_string(size) + " bytes" + text_of(range));
        tensor.bytes = data.subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(size));
        return {range, std::move(tensor)};
    }

    dtype read_dtype(const std::string& name, const nlohmann::json& value) const {
        for (const auto& row : detail::dtype_table)
            if (value.is_string() && value.get_ref<const std::string&>() == row.name) return row.type;
        fail(name, "has the unknown dtype " + shown(value));
    }

    /// A value for a message: numbers and short strings as they are, of others only the kind (they may be very large).
    static std::string shown(const nlohmann::json& value) {
        constexpr std::size_t longest = 40;
        if (value.is_number() || (value.is_string() && value.get_ref<const std::string&>().size() <= longest))
            return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        return std::string("a value of type ") + value.type_name();
    }

    static std::string text_of(byte_range range) {
        return ", data_offsets [" + std::to_string(range.begin) + ", " + std::to_string(range.end) + "]";
    }

    const std::string& label_;
    safetensors_contents contents_;
};

}  // namespace detail

SUBBIT_IO_INLINE safetensors_contents parse_safetensors(std::span<const std::byte> file, const std::string& label) {
    return detail::safetensors_parser(label).parse(file);
}

SUBBIT_IO_INLINE std::string safetensors_header(std::span<const header_entry> tensors,
                                                const std::map<std::string, std::string>& metadata) {
    // Written piece by piece: the library's JSON object that keeps the order of its keys takes long to compile.
    const auto quoted = [](const std::string& word) {
        try {
            return nlohmann::json(word).dump();
        } catch (const nlohmann::json::exception&) {
            throw value_error("a tensor's name or the metadata is not UTF-8");
        }
    };
    std::string text;
    const auto next = [&](const std::string& key) { text += (text.empty() ? "{" : ",") + quoted(key) + ":"; };
    if (!metadata.empty()) {
        next("__metadata__");
        char before = '{';
        for (const auto& [key, value] : metadata) {
            text += before + quoted(key) + ":" + quoted(value);
            before = ',';
        }
        text += '}';
    }
    std::size_t begin = 0;
    for (const header_entry& e : tensors) {
        next(*e.name);
        text += "{\"dtype\":" + quoted(std::string(name_of(e.type))) + ",\"shape\":[";
        for (std::size_t d = 0; d < e.shape->size(); ++d)
            text += (d > 0 ? "," : "") + std::to_string((*e.shape)[d]);
        text += "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(begin + e.bytes) + "]}";
        begin += e.bytes;
    }
    text += text.empty() ? "{}" : "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = text.size();
    return std::string(reinterpret_cast<const char*>(&size), sizeof size) + text;
}

SUBBIT_IO_INLINE std::map<std::string, std::vector<std::string>> read_weight_map(
    const std::filesystem::path& index_path) {
    const auto fail = [&](const std::string& what) { throw format_error(index_path.string() + ": " + what); };
    const auto document = read_json(index_path);
    if (!document.is_object() || !document.contains("weight_map") || !document["weight_map"].is_object())
        fail("has no weight_map");
    std::map<std::string, std::vector<std::string>> shards;
    for (const auto& [name, shard] : document["weight_map"].items()) {
        if (!shard.is_string()) fail("weight_map gives no file for tensor " + in_quotes(name));
        shards[shard.get<std::string>()].push_back(name);
    }
    return shards;
}

}  // namespace subbit
