// Tensors by name, from one safetensors file or from a directory with one or several.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/core/matrix.hpp>
#include <subbit/io/dtype.hpp>
#include <subbit/io/quotes.hpp>
#include <subbit/io/safetensors_file.hpp>
#include <subbit/io/safetensors_header.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace subbit {

/// Rows of a stored matrix of floats, those from `first` on.
struct stored_rows {
    dtype type;
    index first, count, cols;
    std::span<const std::byte> bytes;

    index row_bytes() const { return cols * size_of(type); }
    /// At most `most` rows from the i-th of these on.
    stored_rows rows(index i, index most) const {
        most = std::min(most, count - i);
        return {type, first + i, most, cols,
                bytes.subspan(static_cast<std::size_t>(i * row_bytes()), static_cast<std::size_t>(most * row_bytes()))};
    }
    /// The i-th row, converted; `out` has as many numbers.
    template <std::floating_point Scalar>
    void read(index i, std::span<Scalar> out) const {
        detail::decode_known(type, rows(i, 1).bytes, out);
    }
};

/// All tensors of a model. The files are memory-mapped, so a tensor is read only when it is used.
class safetensors_reader {
  public:
    /// Opens a .safetensors file, or a directory with model.safetensors or else model.safetensors.index.json and its
    /// shards. io_error if something cannot be read; format_error naming file and tensor if contents are not
    /// valid.
    explicit safetensors_reader(const std::filesystem::path& path) : label_(path.string()) {
        const auto single = path / "model.safetensors", index_path = path / "model.safetensors.index.json";
        std::error_code unreadable;  // a path that cannot be examined fails when it is opened
        if (!std::filesystem::is_directory(path, unreadable))
            add_file(safetensors_file(path));
        else if (std::filesystem::exists(single, unreadable))
            add_file(safetensors_file(single));
        else if (std::filesystem::exists(index_path, unreadable))
            add_shards(path, index_path);
        else
            throw io_error(label_ + " holds neither model.safetensors nor model.safetensors.index.json");
    }
    /// Reads one file's bytes in memory, which must outlive the reader; messages name `label` instead of a file.
    safetensors_reader(std::span<const std::byte> bytes, std::string label) : label_(std::move(label)) {
        add_file(safetensors_file(bytes, label_));
    }

    /// The names, ordered by file name and by the position in the file.
    const std::vector<std::string>& names() const { return names_; }
    bool contains(std::string_view name) const { return places_.find(name) != places_.end(); }
    /// The files' metadata; if two files differ, the first one's value.
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    /// Type, shape and bytes of a tensor; format_error naming it and the file if there is none.
    const tensor_info& info(std::string_view name) const {
        const auto found = places_.find(name);
        if (found == places_.end()) throw format_error(label_ + ": no tensor " + in_quotes(name));
        const auto [file, at] = found->second;
        return files_[file].tensors()[at];
    }

    /// shape_error naming the tensor, its shape and `shape` unless they agree.
    void expect_shape(std::string_view name, std::initializer_list<index> shape) const {
        const auto& have = info(name).shape;
        const std::span<const index> want(shape.begin(), shape.size());
        if (!std::equal(have.begin(), have.end(), want.begin(), want.end()))
            throw shape_error(label_ + ": tensor " + in_quotes(name) + " is " + shape_text(have) + ", expected " +
                              shape_text(want));
    }

    /// Converts a tensor of floats, of any shape with out.size() elements, to `out` (row-major), without an
    /// intermediate copy. format_error if it does not hold floats, shape_error if the number of elements differs.
    template <std::floating_point Scalar>
    void read_into(std::string_view name, std::span<Scalar> out) const {
        const tensor_info& tensor = info(name);
        if (!is_floating(tensor.type)) fail_type(tensor, "F64, F32, F16 or BF16");
        if (tensor.bytes.size() != out.size() * static_cast<std::size_t>(size_of(tensor.type)))
            throw shape_error(label_ + ": tensor " + in_quotes(name) + " is " + shape_text(tensor.shape) +
                              ", expected " + std::to_string(out.size()) + " elements");
        decode_floats(tensor.type, tensor.bytes, out);
    }

    /// A tensor of order two as a dense matrix; shape_error for another order, format_error if it does not hold floats.
    template <std::floating_point Scalar>
    matrix<Scalar> read_matrix(std::string_view name) const {
        const auto& shape = of_order(name, 2, "a matrix").shape;
        matrix<Scalar> m(shape[0], shape[1]);
        read_into(name, std::span<Scalar>(m.data(), static_cast<std::size_t>(m.size())));
        return m;
    }

    /// Calls f(rows) for runs of rows of a matrix of floats, in order. The next run is loaded meanwhile, and pages that
    /// were read are given back to the system, so that a large tensor is never in memory as a whole. Throws like
    /// read_matrix.
    template <class F>
    void for_each_run(std::string_view name, F&& f) const {
        const stored_rows all = rows_of(name);
        constexpr index run_bytes = 1 << 25;
        const index together = run_bytes / std::max<index>(all.row_bytes(), 1) + 1;
        for (index i = 0; i < all.count; i += together) {
            const auto next = all.rows(std::min(i + together, all.count), together);
            file_of(name).prefetch(next.bytes);
            f(all.rows(i, together));
            release();
        }
    }
    /// Calls f(i, row) for each row of a matrix of floats, likewise.
    template <std::floating_point Scalar, class F>
    void for_each_row(std::string_view name, F&& f) const {
        std::vector<Scalar> row(static_cast<std::size_t>(rows_of(name).cols));
        for_each_run(name, [&](const stored_rows& run) {
            for (index i = 0; i < run.count; ++i) {
                run.read(i, std::span<Scalar>(row));
                f(run.first + i, std::span<const Scalar>(row));
            }
        });
    }
    /// One row of a matrix of floats; throws like read_matrix, and shape_error where row.size() is not the columns'
    /// number.
    template <std::floating_point Scalar>
    void read_row(std::string_view name, index i, std::span<Scalar> row) const {
        const stored_rows all = rows_of(name);
        require_size(std::string(name).c_str(), std::ssize(row), all.cols);
        all.read(i, row);
    }

    /// Asks the system to load a tensor that will be needed soon; format_error naming it if there is none.
    void prefetch(std::string_view name) const {
        const tensor_info& tensor = info(name);
        file_of(name).prefetch(tensor.bytes);
    }

    /// Gives the files' loaded pages back to the system, once what was read has been copied.
    void release() const {
        for (const safetensors_file& file : files_)
            file.release();
    }

    /// A tensor of order one as a vector; shape_error for another order, format_error if it does not hold floats.
    template <std::floating_point Scalar>
    vector<Scalar> read_vector(std::string_view name) const {
        vector<Scalar> v(of_order(name, 1, "a vector").shape[0]);
        read_into(name, span_of(v));
        return v;
    }

    /// A view of the elements in the file's memory; format_error if they are not of type T or not aligned for it.
    template <class T>
    std::span<const T> raw(std::string_view name) const {
        const tensor_info& tensor = info(name);
        if (tensor.type != dtype_of<T>) fail_type(tensor, std::string(name_of(dtype_of<T>)));
        if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(T) != 0)
            throw format_error(label_ + ": tensor " + in_quotes(name) + " does not begin at a multiple of " +
                               std::to_string(alignof(T)) + " bytes");
        return {reinterpret_cast<const T*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(T)};
    }

  private:
    const safetensors_file& file_of(std::string_view name) const { return files_[places_.find(name)->second.file]; }

    stored_rows rows_of(std::string_view name) const {
        const tensor_info& tensor = of_order(name, 2, "a matrix");
        if (!is_floating(tensor.type)) fail_type(tensor, "F64, F32, F16 or BF16");
        return {tensor.type, 0, tensor.shape[0], tensor.shape[1], tensor.bytes};
    }

    struct place {
        std::size_t file, tensor;
    };

    const tensor_info& of_order(std::string_view name, std::size_t order, const char* what) const {
        const tensor_info& tensor = info(name);
        if (tensor.shape.size() != order)
            throw shape_error(label_ + ": tensor " + in_quotes(name) + " is " + shape_text(tensor.shape) +
                              ", expected " + what);
        return tensor;
    }
    [[noreturn]] void fail_type(const tensor_info& tensor, const std::string& expected) const {
        throw format_error(label_ + ": tensor " + in_quotes(tensor.name) + " holds " +
                           std::string(name_of(tensor.type)) + ", expected " + expected);
    }

    void add_file(safetensors_file file) {
        for (std::size_t k = 0; k < file.tensors().size(); ++k)
            add_name(file.tensors()[k].name, {files_.size(), k});
        finish(std::move(file));
    }
    void add_name(const std::string& name, place at) {
        names_.push_back(name);
        places_.emplace(name, at);
    }
    void finish(safetensors_file file) {
        metadata_.insert(file.metadata().begin(), file.metadata().end());
        files_.push_back(std::move(file));
    }

    /// The index decides from which shard a name is read; other tensors of a shard are ignored.
    void add_shards(const std::filesystem::path& directory, const std::filesystem::path& index_path) {
        const auto fail = [&](const std::string& what) { throw format_error(index_path.string() + ": " + what); };
        std::map<std::string, std::map<std::string, bool>> wanted;  // shard -> tensor -> seen
        for (const auto& [shard, tensors] : read_weight_map(index_path))
            for (const std::string& name : tensors)
                wanted[shard][name] = false;
        for (auto& [shard, tensors] : wanted) {
            const bool plain = !shard.empty() && shard != "." && shard != ".." &&
                               shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
            if (!plain) fail("the shard " + in_quotes(shard) + " is not a plain file name");
            std::error_code unreadable;
            if (!std::filesystem::exists(directory / shard, unreadable))
                fail("the shard " + in_quotes(shard) + " of tensor " + in_quotes(tensors.begin()->first) +
                     " is missing");
            safetensors_file file(directory / shard);
            for (std::size_t k = 0; k < file.tensors().size(); ++k) {
                const auto found = tensors.find(file.tensors()[k].name);
                if (found == tensors.end()) continue;
                found->second = true;
                add_name(found->first, {files_.size(), k});
            }
            for (const auto& [name, seen] : tensors)
                if (!seen) fail("the shard " + in_quotes(shard) + " does not hold the tensor " + in_quotes(name));
            finish(std::move(file));
        }
    }

    std::string label_;
    std::vector<safetensors_file> files_;
    std::vector<std::string> names_;
    std::map<std::string, place, std::less<>> places_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace subbit
