// The rows of an embedding or an output head in as many bits as one likes. Of an embedding single rows are read; a head
// is read whole for every token, and takes the time that its bytes take to arrive.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/cpu/scratch.hpp>
#include <subbit/backend/ops/bytes.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/half.hpp>
#include <subbit/core/memory.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llama {

using subbit::index;

/// How a row_table holds its numbers: as floats, as bfloat16, or as 8-bit integers with one scale a row (the largest
/// magnitude of the row is 127).
enum class row_format { f32, bf16, int8 };

/// The format of that name; value_error for another word.
inline row_format parse_row_format(std::string_view name) {
    if (name == "f32") return row_format::f32;
    if (name == "bf16") return row_format::bf16;
    if (name == "int8") return row_format::int8;
    throw subbit::value_error("unknown row format '" + std::string(name) + "', expected f32, bf16 or int8");
}

/// value_error unless `id` is one of a vocabulary's.
inline void require_token(std::int32_t id, index vocabulary) {
    if (id < 0 || id >= vocabulary)
        throw subbit::value_error("token " + std::to_string(id) + " is outside the vocabulary of " +
                                  std::to_string(vocabulary));
}

/// A matrix (rows, cols) of finite numbers, written and read by rows and multiplied with vectors.
class row_table {
  public:
    row_table() = default;
    row_table(row_format format, index rows, index cols) : format_(format), rows_(rows), cols_(cols) {
        const index size = format == row_format::f32 ? 4 : format == row_format::bf16 ? 2 : 1;
        bytes_.resize(static_cast<std::size_t>(rows * cols * size));
        if (format == row_format::int8) scales_.resize(static_cast<std::size_t>(rows));
    }

    index rows() const { return rows_; }
    index cols() const { return cols_; }
    row_format format() const { return format_; }
    /// The rows as they lie in memory, and for int8 a scale a row: what a device copies.
    std::span<const std::byte> bytes() const { return bytes_; }
    std::span<const float> scales() const { return scales_; }

    /// Row i becomes `values`, rounded to nearest.
    void set_row(index i, std::span<const float> values) {
        subbit::require_size("row_table: row", std::ssize(values), cols_);
        const float* const from = values.data();
        if (format_ == row_format::f32) {
            std::copy_n(from, cols_, row<float>(i));
        } else if (format_ == row_format::bf16) {
            std::uint16_t* const to = row<std::uint16_t>(i);
#pragma omp simd
            for (index c = 0; c < cols_; ++c)
                to[c] = subbit::to_bf16(from[c]);
        } else {
            const float inverse = unit(values, 127, scales_[static_cast<std::size_t>(i)]);
            std::int8_t* const to = row<std::int8_t>(i);
#pragma omp simd
            for (index c = 0; c < cols_; ++c)
                to[c] = static_cast<std::int8_t>(nearest(from[c] * inverse));
        }
    }

    /// Row i as floats.
    void read_row(index i, std::span<float> values) const {
        subbit::require_size("row_table: row", std::ssize(values), cols_);
        if (format_ == row_format::f32)
            std::copy_n(row<float>(i), cols_, values.begin());
        else if (format_ == row_format::bf16)
            std::transform(row<std::uint16_t>(i), row<std::uint16_t>(i) + cols_, values.begin(), subbit::from_bf16);
        else
            std::transform(
                row<std::int8_t>(i), row<std::int8_t>(i) + cols_, values.begin(),
                [s = scales_[static_cast<std::size_t>(i)]](std::int8_t q) { return s * static_cast<float>(q); });
    }

    /// A token's embedding, scale * row `id`; value_error for an id outside the table.
    void read_embedding(std::int32_t id, double scale, std::span<float> values) const {
        require_token(id, rows_);
        read_row(id, values);
        for (float& x : values)
            x *= static_cast<float>(scale);
    }

    /// y (rows) = the table times x (cols). f32, bf16: accumulated in float32. int8: x is rounded to as many bits as
    /// 32-bit sums allow (14.8 and a sign at 576 columns, 12 at 4096) and the products are integers, the same on every
    /// machine. An x that is not finite makes all of y NaN there.
    template <subbit::host_backend B>
    void multiply(const B& b, std::span<const float> x, std::span<float> y) const {
        subbit::require_size("row_table: x", std::ssize(x), cols_);
        subbit::require_size("row_table: y", std::ssize(y), rows_);
        if (format_ == row_format::f32)
            multiply_floats<float>(b, x, y, [](float w) { return w; });
        else if (format_ == row_format::bf16)
            multiply_floats<std::uint16_t>(b, x, y, [](std::uint16_t w) { return subbit::from_bf16(w); });
        else
            multiply_integers(b, x, y);
    }

  private:
    static constexpr index rows_together = 512;  // a thread's turn

    template <class T>
    T* row(index i) {
        return reinterpret_cast<T*>(bytes_.data()) + i * cols_;
    }
    template <class T>
    const T* row(index i) const {
        return reinterpret_cast<const T*>(bytes_.data()) + i * cols_;
    }

    /// x rounded to nearest, ties to even, for |x| < 2^22: a float of 1.5 * 2^23 and more has no bits behind the point.
    /// The compiler vectorizes this, unlike std::nearbyint.
    static std::int32_t nearest(float x) {
        constexpr float shift = 0x1.8p23F;
        return std::bit_cast<std::int32_t>(x + shift) - std::bit_cast<std::int32_t>(shift);
    }

    /// Sets `scale` to the value of one unit where the largest magnitude is `most` units; returns units per value.
    static float unit(std::span<const float> values, float most, float& scale) {
        const float* const v = values.data();
        const float largest = subbit::largest_of(std::ssize(values), [&](index c) { return std::abs(v[c]); });
        scale = largest / most;
        return largest > 0 ? most / largest : 0;
    }

    template <class T, class B, class Decode>
    void multiply_floats(const B& b, std::span<const float> x, std::span<float> y, Decode decode) const {
        subbit::vectorized_for(b, rows_, rows_together, [&](index begin, index end) {
            const float* const v = x.data();
            const index n = cols_;
            for (index i = begin; i < end; ++i) {
                const T* const w = row<T>(i);
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (index c = 0; c < n; ++c)
                    sum += decode(w[c]) * v[c];
                y[static_cast<std::size_t>(i)] = sum;
            }
        });
    }

    template <class B>
    void multiply_integers(const B& b, std::span<const float> x, std::span<float> y) const {
        if (!std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); }))
            return std::fill(y.begin(), y.end(), std::numeric_limits<float>::quiet_NaN());
        struct rounded_x;
        auto* const v = subbit::thread_scratch<rounded_x>().template reserve<std::int16_t>(cols_);
        const index most = std::min<index>(32767, std::numeric_limits<std::int32_t>::max() / (127 * cols_));
        float x_scale = 0;
        const float inverse = unit(x, static_cast<float>(most), x_scale);
        std::transform(x.begin(), x.end(), v,
                       [inverse](float f) { return static_cast<std::int16_t>(nearest(f * inverse)); });
        struct integer_sums;
        auto* const sums = subbit::thread_scratch<integer_sums>().template reserve<std::int32_t>(rows_);
        subbit::byte_products(b, {row<std::int8_t>(0), rows_, cols_}, {v, static_cast<std::size_t>(cols_)},
                              {sums, static_cast<std::size_t>(rows_)});
        subbit::vectorized(b, [&, count = rows_, to = y.data(), scales = scales_.data()] {
            for (index i = 0; i < count; ++i)
                to[i] = static_cast<float>(sums[i]) * (x_scale * scales[i]);
        });
    }

    row_format format_ = row_format::f32;
    index rows_ = 0, cols_ = 0;
    std::vector<std::byte, subbit::streaming_allocator<std::byte>> bytes_;
    std::vector<float> scales_;  // int8 alone: one a row
};

}  // namespace llama
