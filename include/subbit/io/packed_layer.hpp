// How a low-rank binary layer lies in a safetensors file (docs/format.md).
//
//   NAME.U       U32 (ceil(m/16), ceil(r/32), 16)   tiles of the packed layout: a set bit is +1, padding is 0
//   NAME.V       U32 (ceil(r/16), ceil(n/32), 16)
//   NAME.s_post  F16 (m)      NAME.s_mid F16 (r), three scales only      NAME.s_pre F16 (n)
//   NAME.bias    F32 (m), where there is one
// and in the metadata  NAME.rank = "r", and once  subbit.format_version = "1".
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/core/half.hpp>
#include <subbit/io/safetensors_reader.hpp>
#include <subbit/io/safetensors_writer.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

namespace subbit {

inline constexpr const char* packed_format_key = "subbit.format_version";
inline constexpr const char* packed_format_version = "1";

/// Rounds the scales to the 16-bit floats that a file holds; value_error naming `layer_name` where one is out of range.
template <class S>
void round_scales(low_rank_binary_linear<S>& layer, const std::string& layer_name) {
    for (vector<S>* scales : {&layer.s_post, &layer.s_mid, &layer.s_pre})
        for (S& s : *scales) {
            s = static_cast<S>(from_f16(to_f16(static_cast<float>(s))));
            if (!std::isfinite(s)) throw value_error(layer_name + ": a scale is not a finite 16-bit float");
        }
}

/// Adds a layer's tensors and metadata to a file.
template <class S>
void add_packed_layer(safetensors_writer& file, const std::string& name, const low_rank_binary_linear<S>& layer) {
    const auto add_bits = [&](const char* suffix, const bit_matrix& bits) {
        file.add(name + suffix, {bits.view().row_groups(), bits.view().col_groups(), bit_layout::tile_rows},
                 bits.words());
    };
    const auto add_vector = [&](const char* suffix, const vector<S>& v, dtype type) {
        if (v.size() != 0) file.add(name + suffix, {v.size()}, span_of(v), type);
    };
    add_bits(".U", layer.U);
    add_bits(".V", layer.V);
    add_vector(".s_post", layer.s_post, dtype::f16);
    add_vector(".s_mid", layer.s_mid, dtype::f16);
    add_vector(".s_pre", layer.s_pre, dtype::f16);
    add_vector(".bias", layer.bias, dtype::f32);
    file.metadata(name + ".rank", std::to_string(layer.rank()));
    file.metadata(packed_format_key, packed_format_version);
}

/// True where a file holds the packed form of a layer.
inline bool holds_packed_layer(const safetensors_reader& file, const std::string& name) {
    return file.contains(name + ".U");
}

/// Reads a layer back; format_error or shape_error naming the tensor where something is missing or does not fit.
template <class S>
low_rank_binary_linear<S> read_packed_layer(const safetensors_reader& file, const std::string& name) {
    const auto version = file.metadata().find(packed_format_key);
    if (version != file.metadata().end() && version->second != packed_format_version)
        throw format_error("tensor " + in_quotes(name + ".U") + ": " + packed_format_key + " is " +
                           in_quotes(version->second) + ", expected " + in_quotes(packed_format_version));
    const auto read_finite = [&](const char* suffix) {
        vector<S> v = file.read_vector<S>(name + suffix);
        for (index i = 0; i < v.size(); ++i)
            if (!std::isfinite(v(i)))
                throw format_error("tensor " + in_quotes(name + suffix) + " (" + std::to_string(v.size()) +
                                   " entries) is not finite at " + std::to_string(i));
        return v;
    };
    low_rank_binary_linear<S> layer;
    layer.s_post = read_finite(".s_post");
    layer.s_pre = read_finite(".s_pre");
    const auto found = file.metadata().find(name + ".rank");
    index rank = 0;
    if (found == file.metadata().end())
        throw format_error("tensor " + in_quotes(name + ".U") + ": the metadata names no rank");
    const std::string& text = found->second;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), rank);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || rank <= 0)
        throw format_error("tensor " + in_quotes(name + ".U") + ": rank " + in_quotes(text) +
                           " in the metadata, expected a positive number");
    // Beyond the smaller side a rank buys nothing, and a hostile one would overflow the sizes below.
    const index largest = std::min(layer.s_post.size(), layer.s_pre.size());
    if (rank > largest)
        throw format_error("tensor " + in_quotes(name + ".U") + ": rank " + text + " of a layer of " +
                           shape_text(layer.s_post.size(), layer.s_pre.size()) + ", expected at most " +
                           std::to_string(largest));
    const auto bits = [&](const char* suffix, index rows, index cols) {
        file.expect_shape(name + suffix,
                          {bit_layout::row_groups(rows), bit_layout::col_groups(cols), bit_layout::tile_rows});
        try {
            return bit_matrix::from_words(rows, cols, file.raw<std::uint32_t>(name + suffix));
        } catch (const format_error& e) {
            throw format_error("tensor " + in_quotes(name + suffix) + ": " + e.what());
        }
    };
    layer.U = bits(".U", layer.s_post.size(), rank);
    layer.V = bits(".V", rank, layer.s_pre.size());
    const auto optional_vector = [&](const char* suffix, index size) {
        if (!file.contains(name + suffix)) return vector<S>();
        file.expect_shape(name + suffix, {size});
        return read_finite(suffix);
    };
    layer.s_mid = optional_vector(".s_mid", rank);
    layer.bias = optional_vector(".bias", layer.s_post.size());
    return layer;
}

}  // namespace subbit
