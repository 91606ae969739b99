// The element types of stored tensors, and conversions to and from the types of computation.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/half.hpp>
#include <subbit/core/matrix.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace subbit {

static_assert(std::endian::native == std::endian::little, "stored tensors are little-endian, and are read in place");

/// The type of a stored tensor's elements.
enum class dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean };

namespace detail {

struct dtype_row {
    dtype type;
    std::string_view name;
    index size;
};
inline constexpr std::array<dtype_row, 13> dtype_table = {{{dtype::f64, "F64", 8},
                                                           {dtype::f32, "F32", 4},
                                                           {dtype::f16, "F16", 2},
                                                           {dtype::bf16, "BF16", 2},
                                                           {dtype::i64, "I64", 8},
                                                           {dtype::i32, "I32", 4},
                                                           {dtype::i16, "I16", 2},
                                                           {dtype::i8, "I8", 1},
                                                           {dtype::u64, "U64", 8},
                                                           {dtype::u32, "U32", 4},
                                                           {dtype::u16, "U16", 2},
                                                           {dtype::u8, "U8", 1},
                                                           {dtype::boolean, "BOOL", 1}}};

}  // namespace detail

/// The name that safetensors headers use: "BF16".
constexpr std::string_view name_of(dtype type) {
    return detail::dtype_table[static_cast<std::size_t>(type)].name;
}

/// Bytes of one element.
constexpr index size_of(dtype type) {
    return detail::dtype_table[static_cast<std::size_t>(type)].size;
}

constexpr bool is_floating(dtype type) {
    return type == dtype::f64 || type == dtype::f32 || type == dtype::f16 || type == dtype::bf16;
}

/// The dtype whose elements are C++ objects of type T.
template <class T>
inline constexpr dtype dtype_of = [] {
    if constexpr (std::same_as<T, double>) return dtype::f64;
    if constexpr (std::same_as<T, float>) return dtype::f32;
    if constexpr (std::same_as<T, std::int64_t>) return dtype::i64;
    if constexpr (std::same_as<T, std::int32_t>) return dtype::i32;
    if constexpr (std::same_as<T, std::int16_t>) return dtype::i16;
    if constexpr (std::same_as<T, std::int8_t>) return dtype::i8;
    if constexpr (std::same_as<T, std::uint64_t>) return dtype::u64;
    if constexpr (std::same_as<T, std::uint32_t>) return dtype::u32;
    if constexpr (std::same_as<T, std::uint16_t>) return dtype::u16;
    if constexpr (std::same_as<T, std::uint8_t>) return dtype::u8;
}();

namespace detail {

template <class Stored, class Convert, class Scalar>
void decode_each(std::span<const std::byte> bytes, std::span<Scalar> out, Convert convert) {
    const std::byte* in = bytes.data();
    Scalar* to = out.data();
    for (std::size_t k = 0, n = out.size(); k < n; ++k) {
        Stored stored;  // through memcpy: a file need not be aligned
        std::memcpy(&stored, in + k * sizeof(Stored), sizeof(Stored));
        to[k] = static_cast<Scalar>(convert(stored));
    }
}

/// decode_floats() of arguments that have been checked.
template <std::floating_point Scalar>
void decode_known(dtype type, std::span<const std::byte> bytes, std::span<Scalar> out) {
    if (out.empty()) return;
    if (type == dtype_of<Scalar>)
        std::memcpy(out.data(), bytes.data(), bytes.size());
    else if (type == dtype::f64)
        decode_each<double>(bytes, out, [](double x) { return x; });
    else if (type == dtype::f32)
        decode_each<float>(bytes, out, [](float x) { return x; });
    else if (type == dtype::f16)
        decode_each<std::uint16_t>(bytes, out, [](std::uint16_t h) { return from_f16(h); });
    else
        decode_each<std::uint16_t>(bytes, out, [](std::uint16_t h) { return from_bf16(h); });
}

template <class Stored, class Convert, class Scalar>
void encode_each(std::span<const Scalar> values, std::span<std::byte> bytes, Convert convert) {
    const Scalar* in = values.data();
    std::byte* to = bytes.data();
    for (std::size_t k = 0, n = values.size(); k < n; ++k) {
        const Stored stored = convert(in[k]);
        std::memcpy(to + k * sizeof(Stored), &stored, sizeof(Stored));
    }
}

}  // namespace detail

/// Converts stored floats to `out`; bytes.size() == out.size() * size_of(type), `type` floating (value_error
/// otherwise).
template <std::floating_point Scalar>
void decode_floats(dtype type, std::span<const std::byte> bytes, std::span<Scalar> out) {
    if (!is_floating(type) || bytes.size() != out.size() * static_cast<std::size_t>(size_of(type)))
        throw value_error("cannot decode " + std::to_string(bytes.size()) + " bytes of " + std::string(name_of(type)) +
                          " into " + std::to_string(out.size()) + " floats");
    detail::decode_known(type, bytes, out);
}

/// The bytes of `values` stored as the floating `type`, rounded to nearest (from double to 16 bits by way of float);
/// value_error if `type` is not floating.
template <std::floating_point Scalar>
std::vector<std::byte> encode_floats(dtype type, std::span<const Scalar> values) {
    if (!is_floating(type)) throw value_error("cannot store floats as " + std::string(name_of(type)));
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(size_of(type)));
    const std::span<std::byte> out = bytes;
    if (type == dtype::f64)
        detail::encode_each<double>(values, out, [](Scalar x) { return static_cast<double>(x); });
    else if (type == dtype::f32)
        detail::encode_each<float>(values, out, [](Scalar x) { return static_cast<float>(x); });
    else if (type == dtype::f16)
        detail::encode_each<std::uint16_t>(values, out, [](Scalar x) { return to_f16(static_cast<float>(x)); });
    else
        detail::encode_each<std::uint16_t>(values, out, [](Scalar x) { return to_bf16(static_cast<float>(x)); });
    return bytes;
}

}  // namespace subbit
