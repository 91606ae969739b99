// Objects of several parts as bytes, to be sent to another rank of the same program.
#pragma once

#include <subbit/bits/bit_matrix.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace subbit {

/// Appends parts to bytes.
class byte_writer {
  public:
    template <class T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
    void put(T number) {
        const auto bytes = std::as_bytes(std::span(&number, 1));
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
    template <class T>
    void put(std::span<const T> numbers) {
        put(numbers.size());
        const auto bytes = std::as_bytes(numbers);
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    }
    template <class S>
    void put(const vector<S>& v) {
        put(std::span<const S>(span_of(v)));
    }
    template <class S>
    void put(const matrix<S>& m) {
        put(m.rows()), put(m.cols());
        put(std::span<const S>(m.data(), static_cast<std::size_t>(m.size())));
    }
    void put(const bit_matrix& m) {
        put(m.rows()), put(m.cols());
        put(m.words());
    }

    std::vector<std::byte>& bytes() { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

/// Takes parts from bytes, in the order in which they were put; format_error where the bytes end too early.
class byte_reader {
  public:
    explicit byte_reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <class T>
    requires std::is_arithmetic_v<T> || std::is_enum_v<T>
    void get(T& number) { take(std::as_writable_bytes(std::span(&number, 1))); }
    template <class S>
    void get(vector<S>& v) {
        v.resize(static_cast<index>(size()));
        take(std::as_writable_bytes(span_of(v)));
    }
    template <class S>
    void get(matrix<S>& m) {
        resize(m);
        size();
        take(std::as_writable_bytes(std::span(m.data(), static_cast<std::size_t>(m.size()))));
    }
    void get(bit_matrix& m) {
        index rows = 0, cols = 0;
        get(rows), get(cols);
        std::vector<std::uint32_t> words(size());
        take(std::as_writable_bytes(std::span(words)));
        m = bit_matrix::from_words(rows, cols, words);
    }

  private:
    std::size_t size() {
        std::size_t n = 0;
        get(n);
        return n;
    }
    template <class M>
    void resize(M& m) {
        index rows = 0, cols = 0;
        get(rows), get(cols);
        m.resize(rows, cols);
    }
    void take(std::span<std::byte> part) {
        if (part.size() > bytes_.size())
            throw format_error("a message of another rank ends after " + std::to_string(bytes_.size()) +
                               " bytes, expected " + std::to_string(part.size()) + " more");
        std::copy_n(bytes_.data(), part.size(), part.data());  // memcpy may not have null pointers, even for no bytes
        bytes_ = bytes_.subspan(part.size());
    }

    std::span<const std::byte> bytes_;
};

}  // namespace subbit
