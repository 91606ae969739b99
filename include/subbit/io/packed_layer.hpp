// How binary layers are stored in a safetensors file (docs/format.md). A low-rank layer:
//
//   NAME.U       U32 (ceil(m/16), ceil(r/32), 16)   tiles of the packed layout: a set bit is +1, padding is 0
//   NAME.V       U32 (ceil(r/16), ceil(n/32), 16)
//   NAME.s_post  F16 (m)      NAME.s_mid F16 (r), three scales only      NAME.s_pre F16 (n)
// A residual layer, for p = 0 .. k-1:
//   NAME.path<p>.B       U32 (ceil(m/16), ceil(n/32), 16)
//   NAME.path<p>.s_post  F16 (m)      NAME.path<p>.s_pre F16 (n)
// Scales may also be I8, codes of -127 to 127, each vector with a grid of its own, F32 (2): NAME.s_post_grid and so on.
// Both have
//   NAME.bias    F32 (m), if there is a bias,
// and in the metadata  NAME.rank = "r" or NAME.paths = "k", and once  subbit.format_version = "1", or "2" with grids.
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/bits/round_scales.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/half.hpp>
#include <subbit/io/safetensors_reader.hpp>
#include <subbit/io/safetensors_writer.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <vector>

namespace subbit {

inline constexpr const char* packed_format_key = "subbit.format_version";
inline constexpr const char* packed_format_version = "1";
inline constexpr const char* gridded_format_version = "2";  ///< with scales on grids

/// Sets the version of a file's packed layers, unless some of them have a later one already.
inline void set_packed_version(safetensors_writer& file, const std::string& version) {
    const auto now = file.metadata().find(packed_format_key);
    if (now == file.metadata().end() || now->second < version) file.metadata(packed_format_key, version);
}

namespace detail {

inline void add_bits(safetensors_writer& file, const std::string& tensor, const bit_matrix& bits) {
    file.add(tensor, {bits.view().row_groups(), bits.view().col_groups(), bit_layout::tile_rows}, bits.words());
}

template <class S>
void add_vector(safetensors_writer& file, const std::string& tensor, const vector<S>& v, dtype type) {
    if (v.size() != 0) file.add(tensor, {v.size()}, span_of(v), type);
}

/// value_error naming the tensor if an entry is not a finite number of the 16-bit or 32-bit floats of the file.
template <class S>
void require_storable(const std::string& tensor, const vector<S>& v, dtype type) {
    for (index i = 0; i < v.size(); ++i) {
        const auto single = static_cast<float>(v(i));
        if (!is_finite(type == dtype::f16 ? from_f16(to_f16(single)) : single))
            throw value_error("tensor " + in_quotes(tensor) + " (" + std::to_string(v.size()) + " entries) is " +
                              std::to_string(v(i)) + " at " + std::to_string(i) + ", expected a finite number that " +
                              (type == dtype::f16 ? "F16 holds, at most 65504" : "F32 holds"));
    }
}
template <class S>
void require_storable(const std::string& tensor, const vector<S>& scales, scale_format format) {
    require_storable(tensor, scales, format == scale_format::f16 ? dtype::f16 : dtype::f32);
}

inline std::string grid_name(const std::string& tensor) {
    return tensor + "_grid";
}

template <class S>
void add_scales(safetensors_writer& file, const std::string& tensor, const vector<S>& scales, scale_format format) {
    if (format == scale_format::f16) return add_vector(file, tensor, scales, dtype::f16);
    if (scales.size() == 0) return;
    const auto grid = scale_grid::fitted(const_span(scales));
    std::vector<std::int8_t> codes;
    for (const S s : scales)
        codes.push_back(grid.code(s));
    const std::array numbers{grid.top(), grid.ratio()};
    file.add(tensor, {std::ssize(codes)}, std::span<const std::int8_t>(codes));
    file.add(grid_name(tensor), {2}, std::span<const float>(numbers));
}

inline const char* version_of(scale_format format) {
    return format == scale_format::f16 ? packed_format_version : gridded_format_version;
}

template <class Copy>
bit_matrix read_bits(const safetensors_reader& file, const std::string& tensor, index rows, index cols,
                     bit_matrix::allocator memory, Copy&& copy) {
    file.expect_shape(tensor, {bit_layout::row_groups(rows), bit_layout::col_groups(cols), bit_layout::tile_rows});
    try {
        return bit_matrix::from_words(rows, cols, file.raw<std::uint32_t>(tensor), memory, copy);
    } catch (const format_error& e) {
        throw format_error("tensor " + in_quotes(tensor) + ": " + e.what());
    }
}

template <class S>
vector<S> read_finite(const safetensors_reader& file, const std::string& tensor) {
    vector<S> v = file.read_vector<S>(tensor);
    for (index i = 0; i < v.size(); ++i)
        if (!is_finite(v(i)))
            throw format_error("tensor " + in_quotes(tensor) + " (" + std::to_string(v.size()) +
                               " entries) is not finite at " + std::to_string(i));
    return v;
}

/// The grid of a vector of scales; format_error if it is none.
inline scale_grid read_grid(const safetensors_reader& file, const std::string& tensor) {
    file.expect_shape(grid_name(tensor), {2});
    const auto numbers = read_finite<float>(file, grid_name(tensor));
    if (!(numbers(0) >= 0) || !(numbers(1) > 0 && numbers(1) <= 1))
        throw format_error("tensor " + in_quotes(grid_name(tensor)) + " is " + std::to_string(numbers(0)) + ", " +
                           std::to_string(numbers(1)) + ", expected the largest scale and a ratio above 0, at most 1");
    return {numbers(0), numbers(1)};
}

/// The scales of either format.
template <class S>
vector<S> read_scales(const safetensors_reader& file, const std::string& tensor) {
    if (!file.contains(tensor) || file.info(tensor).type != dtype::i8) return read_finite<S>(file, tensor);
    const auto grid = read_grid(file, tensor);
    const auto codes = file.raw<std::int8_t>(tensor);
    file.expect_shape(tensor, {std::ssize(codes)});
    vector<S> scales(std::ssize(codes));
    for (index i = 0; i < scales.size(); ++i) {
        const std::int8_t code = codes[static_cast<std::size_t>(i)];
        if (code < -scale_grid::levels)
            throw format_error("tensor " + in_quotes(tensor) + " is " + std::to_string(code) + " at " +
                               std::to_string(i) + ", expected codes of -127 to 127");
        scales(i) = static_cast<S>(grid.value(code));
    }
    return scales;
}

/// The vector, or an empty one if the file has none.
template <class S>
vector<S> read_optional(const safetensors_reader& file, const std::string& tensor, index size) {
    if (!file.contains(tensor)) return {};
    file.expect_shape(tensor, {size});
    return read_scales<S>(file, tensor);
}

/// A positive number that the metadata have for a layer; an error names `tensor`.
inline index read_count(const safetensors_reader& file, const std::string& key, const char* what,
                        const std::string& tensor) {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end())
        throw format_error("tensor " + in_quotes(tensor) + ": the metadata names no " + what);
    const std::string& text = found->second;
    index count = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size() || count <= 0)
        throw format_error("tensor " + in_quotes(tensor) + ": " + what + " " + in_quotes(text) +
                           " in the metadata, expected a positive number");
    return count;
}

inline void require_known_version(const safetensors_reader& file, const std::string& tensor) {
    const auto version = file.metadata().find(packed_format_key);
    if (version != file.metadata().end() && version->second != packed_format_version &&
        version->second != gridded_format_version)
        throw format_error("tensor " + in_quotes(tensor) + ": " + packed_format_key + " is " +
                           in_quotes(version->second) + ", expected " + in_quotes(packed_format_version) + " or " +
                           in_quotes(gridded_format_version));
}

inline std::string path_prefix(const std::string& name, index path) {
    return name + ".path" + std::to_string(path);
}

}  // namespace detail

/// Adds a layer's tensors and metadata to a file. Throws value_error naming the tensor, the index and the value, and
/// adds nothing, if a scale or bias is out of the range of the file's floats. On a grid, scales that are not rounded to
/// one (round_scales) are rounded here.
template <class S>
void add_packed_layer(safetensors_writer& file, const std::string& name, const low_rank_binary_linear<S>& layer,
                      scale_format format = scale_format::f16) {
    detail::require_storable(name + ".s_post", layer.s_post, format);
    detail::require_storable(name + ".s_mid", layer.s_mid, format);
    detail::require_storable(name + ".s_pre", layer.s_pre, format);
    detail::require_storable(name + ".bias", layer.bias, dtype::f32);
    detail::add_bits(file, name + ".U", layer.U);
    detail::add_bits(file, name + ".V", layer.V);
    detail::add_scales(file, name + ".s_post", layer.s_post, format);
    detail::add_scales(file, name + ".s_mid", layer.s_mid, format);
    detail::add_scales(file, name + ".s_pre", layer.s_pre, format);
    detail::add_vector(file, name + ".bias", layer.bias, dtype::f32);
    file.metadata(name + ".rank", std::to_string(layer.rank()));
    set_packed_version(file, detail::version_of(format));
}
template <class S>
void add_packed_layer(safetensors_writer& file, const std::string& name, const residual_binary_linear<S>& layer,
                      scale_format format = scale_format::f16) {
    for (index p = 0; p < layer.path_count(); ++p) {
        const auto& path = layer.paths[static_cast<std::size_t>(p)];
        detail::require_storable(detail::path_prefix(name, p) + ".s_post", path.s_post, format);
        detail::require_storable(detail::path_prefix(name, p) + ".s_pre", path.s_pre, format);
    }
    detail::require_storable(name + ".bias", layer.bias, dtype::f32);
    for (index p = 0; p < layer.path_count(); ++p) {
        const auto& path = layer.paths[static_cast<std::size_t>(p)];
        const std::string prefix = detail::path_prefix(name, p);
        detail::add_bits(file, prefix + ".B", path.B);
        detail::add_scales(file, prefix + ".s_post", path.s_post, format);
        detail::add_scales(file, prefix + ".s_pre", path.s_pre, format);
    }
    detail::add_vector(file, name + ".bias", layer.bias, dtype::f32);
    file.metadata(name + ".paths", std::to_string(layer.path_count()));
    set_packed_version(file, detail::version_of(format));
}

/// The format of a compressed layer's scales in a file.
inline scale_format stored_scales(const safetensors_reader& file, const std::string& name) {
    for (const std::string& tensor : {name + ".s_post", detail::path_prefix(name, 0) + ".s_post"})
        if (file.contains(tensor) && file.info(tensor).type == dtype::i8) return scale_format::log8;
    return scale_format::f16;
}

/// True if a file has the low-rank form of a layer.
inline bool holds_packed_layer(const safetensors_reader& file, const std::string& name) {
    return file.contains(name + ".U");
}
/// True if a file has the residual form of a layer.
inline bool holds_residual_layer(const safetensors_reader& file, const std::string& name) {
    return file.contains(detail::path_prefix(name, 0) + ".B");
}

/// The names of the tensors that a file has of a layer, in either form.
inline std::vector<std::string> packed_layer_tensors(const safetensors_reader& file, const std::string& name) {
    std::vector<std::string> names;
    const auto add = [&](const std::string& tensor) {
        if (file.contains(tensor)) names.push_back(tensor);
    };
    for (const char* part :
         {".U", ".V", ".s_post", ".s_post_grid", ".s_pre", ".s_pre_grid", ".s_mid", ".s_mid_grid", ".bias"})
        add(name + part);
    for (index p = 0; p < max_paths; ++p)
        for (const char* part : {".B", ".s_post", ".s_post_grid", ".s_pre", ".s_pre_grid"})
            add(detail::path_prefix(name, p) + part);
    return names;
}

namespace detail {

/// The rank of a low-rank layer of m x n.
inline index read_rank(const safetensors_reader& file, const std::string& name, index m, index n) {
    const index rank = read_count(file, name + ".rank", "rank", name + ".U");
    // A very large rank would overflow the sizes of the signs.
    const index largest = largest_rank(m, n);
    if (rank > largest)
        throw format_error("tensor " + in_quotes(name + ".U") + ": rank " + std::to_string(rank) + " of a layer of " +
                           shape_text(m, n) + ", expected at most " + std::to_string(largest));
    return rank;
}

}  // namespace detail

/// A low-rank layer without its signs, which read_packed_signs() adds; throws like read_packed_layer.
template <class S>
low_rank_binary_linear<S> read_packed_scales(const safetensors_reader& file, const std::string& name) {
    detail::require_known_version(file, name + ".U");
    low_rank_binary_linear<S> layer;
    layer.s_post = detail::read_scales<S>(file, name + ".s_post");
    layer.s_pre = detail::read_scales<S>(file, name + ".s_pre");
    const index rank = detail::read_rank(file, name, layer.s_post.size(), layer.s_pre.size());
    layer.s_mid = detail::read_optional<S>(file, name + ".s_mid", rank);
    layer.bias = detail::read_optional<S>(file, name + ".bias", layer.s_post.size());
    return layer;
}

/// The signs of one factor, &layer_type::U or &layer_type::V, of a layer that has its scales; `memory` and `copy` as in
/// bit_matrix::from_words(). Throws like read_packed_layer.
template <class S, class Copy>
void read_packed_signs(const safetensors_reader& file, const std::string& name, low_rank_binary_linear<S>& layer,
                       bit_matrix low_rank_binary_linear<S>::*factor, bit_matrix::allocator memory, Copy&& copy) {
    const index m = layer.s_post.size(), n = layer.s_pre.size(), rank = detail::read_rank(file, name, m, n);
    layer.*factor = factor == &low_rank_binary_linear<S>::U
                        ? detail::read_bits(file, name + ".U", m, rank, memory, copy)
                        : detail::read_bits(file, name + ".V", rank, n, memory, copy);
}

/// Reads a low-rank layer; format_error or shape_error naming the tensor if something is missing or does not fit.
template <class S>
low_rank_binary_linear<S> read_packed_layer(const safetensors_reader& file, const std::string& name) {
    using layer_type = low_rank_binary_linear<S>;
    layer_type layer = read_packed_scales<S>(file, name);
    for (const auto factor : {&layer_type::U, &layer_type::V})
        read_packed_signs(file, name, layer, factor, {}, detail::copy_words);
    return layer;
}

/// Reads a residual layer; throws like read_packed_layer.
template <class S>
residual_binary_linear<S> read_residual_layer(const safetensors_reader& file, const std::string& name) {
    const std::string first = detail::path_prefix(name, 0) + ".B";
    detail::require_known_version(file, first);
    const index count = detail::read_count(file, name + ".paths", "paths", first);
    if (count > max_paths)
        throw format_error("tensor " + in_quotes(first) + ": " + std::to_string(count) + " paths, expected at most " +
                           std::to_string(max_paths));
    residual_binary_linear<S> layer;
    for (index p = 0; p < count; ++p) {
        const std::string prefix = detail::path_prefix(name, p);
        binary_path<S> path;
        path.s_post = detail::read_scales<S>(file, prefix + ".s_post");
        path.s_pre = detail::read_scales<S>(file, prefix + ".s_pre");
        path.B = detail::read_bits(file, prefix + ".B", path.s_post.size(), path.s_pre.size(), {}, detail::copy_words);
        layer.paths.push_back(std::move(path));
    }
    layer.bias = detail::read_optional<S>(file, name + ".bias", layer.rows());
    layer.validate();
    return layer;
}

}  // namespace subbit
