// Writes safetensors files atomically; tensors that the caller makes on demand are in memory one at a time.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/io/atomic_file.hpp>
#include <subbit/io/dtype.hpp>
#include <subbit/io/quotes.hpp>
#include <subbit/io/safetensors_header.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace subbit {

/// Collects named tensors and writes them as one file. The same calls produce the same bytes.
class safetensors_writer {
  public:
    using bytes = std::vector<std::byte>;

    /// Adds elements as they are: `shape` is row-major, values.size() its product (shape_error), `name` new
    /// (value_error).
    template <class T>
    void add(const std::string& name, std::vector<index> shape, std::span<const T> values) {
        const auto raw = std::as_bytes(values);
        add_bytes(name, dtype_of<T>, std::move(shape), bytes(raw.begin(), raw.end()));
    }

    /// Adds floats, stored as the floating `type` (encode_floats).
    template <std::floating_point Scalar>
    void add(const std::string& name, std::vector<index> shape, std::span<const Scalar> values, dtype type) {
        add_bytes(name, type, std::move(shape), encode_floats(type, values));
    }

    /// Adds a rows x cols matrix of any strides, stored row-major as the floating `type`.
    template <class T>
    void add(const std::string& name, matrix_view<T> values, dtype type) {
        using Scalar = std::remove_const_t<T>;
        const matrix<Scalar> dense = as_eigen(values);
        add(name, {dense.rows(), dense.cols()},
            std::span<const Scalar>(dense.data(), static_cast<std::size_t>(dense.size())), type);
    }

    template <class Derived>
    void add(const std::string& name, const Eigen::DenseBase<Derived>& values, dtype type) {
        add(name, view(values), type);
    }

    /// Adds bytes that are encoded already.
    void add_bytes(const std::string& name, dtype type, std::vector<index> shape, bytes data) {
        check_size(name, type, shape, data.size());
        add_lazily(name, type, std::move(shape), [held = std::move(data)] { return held; });
    }

    /// Adds a tensor whose bytes `make` produces during write(); each tensor is freed before the next is made.
    void add_lazily(const std::string& name, dtype type, std::vector<index> shape, std::function<bytes()> make) {
        byte_size(name, type, shape);
        if (name == "__metadata__" || !names_.insert(name).second)
            throw value_error("tensor " + in_quotes(name) + " cannot be added: the name is taken");
        entries_.push_back({name, type, std::move(shape), std::move(make)});
    }

    /// Sets an entry of the file's metadata.
    void metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }
    const auto& metadata() const { return metadata_; }

    /// Writes the file atomically, the tensors with the largest elements first (so that each is aligned to its
    /// elements), otherwise in the order of the calls. If that fails, throws io_error and leaves no file.
    void write(const std::filesystem::path& path) const {
        std::vector<const entry*> order;
        for (const entry& e : entries_)
            order.push_back(&e);
        std::stable_sort(order.begin(), order.end(),
                         [](const entry* a, const entry* b) { return size_of(a->type) > size_of(b->type); });

        atomic_file file(path);
        file.write(header(order));
        for (const entry* e : order) {
            const bytes data = e->make();
            check_size(e->name, e->type, e->shape, data.size());
            file.write(data);
        }
        file.commit();
    }

  private:
    struct entry {
        std::string name;
        dtype type;
        std::vector<index> shape;
        std::function<bytes()> make;
    };

    static std::size_t byte_size(const std::string& name, dtype type, std::span<const index> shape) {
        index size = size_of(type);
        for (const index extent : shape)
            if (extent < 0 || __builtin_mul_overflow(size, extent, &size))
                throw shape_error("tensor " + in_quotes(name) + " cannot be " + shape_text(shape));
        return static_cast<std::size_t>(size);
    }
    static void check_size(const std::string& name, dtype type, std::span<const index> shape, std::size_t size) {
        if (byte_size(name, type, shape) != size)
            throw shape_error("tensor " + in_quotes(name) + " of " + std::string(name_of(type)) + " " +
                              shape_text(shape) + " was given " + std::to_string(size) + " bytes");
    }

    std::string header(std::span<const entry* const> order) const {
        std::vector<header_entry> described;
        for (const entry* e : order)
            described.push_back({&e->name, e->type, &e->shape, byte_size(e->name, e->type, e->shape)});
        return safetensors_header(described, metadata_);
    }

    std::vector<entry> entries_;
    std::set<std::string> names_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace subbit

#if !defined(SUBBIT_COMPILED_IO)
#include <subbit/io/safetensors_json.hpp>
#endif
