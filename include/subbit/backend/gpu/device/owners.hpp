// Owners of a device's memory. They have a copy of the device, so that their memory is freed in the order of its
// stream.
#pragma once

#include <subbit/bits/bit_view.hpp>
#include <subbit/core/matrix.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace subbit::gpu {

/// Stands in for the device in an owner without memory.
struct no_device {};

/// `count` entries of T on a device, not initialized. Copies are deep.
template <class Device, class T>
class buffer {
  public:
    buffer() = default;
    buffer(const Device& device, index count) : device_(device), count_(count) {
        if (count > 0) data_ = static_cast<T*>(device.allocate(bytes()));
    }
    buffer(const buffer& other) : buffer(other.device_, other.count_) {
        if (count_ > 0) device_.copy_on_device(data_, other.data_, bytes());
    }
    buffer(buffer&& other) noexcept
        : device_(other.device_), data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    buffer& operator=(buffer other) noexcept {
        std::swap(device_, other.device_);
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~buffer() {
        if (data_ != nullptr) device_.deallocate(data_, bytes());
    }

    /// Makes room for `count` entries. If there was too little, the entries are unspecified afterwards; returns true if
    /// the owner had to give up memory for it.
    bool grow(const Device& device, index count) {
        if (count <= count_) return false;
        const bool leaves = count_ > 0;
        *this = buffer(device, count);
        return leaves;
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    index size() const { return count_; }
    std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }

  private:
    Device device_{no_device{}};
    T* data_ = nullptr;
    index count_ = 0;
};

/// `count` entries of T in host memory that the device accesses itself, so that copies need not wait, for
/// Device::send() and fetch(). Not initialized.
template <class Device, class T>
class host_buffer {
  public:
    host_buffer(const Device& device, index count)
        : device_(device),
          count_(count),
          data_(static_cast<T*>(device.allocate_host(static_cast<std::size_t>(count) * sizeof(T)))) {}
    host_buffer(const host_buffer&) = delete;
    host_buffer& operator=(const host_buffer&) = delete;
    ~host_buffer() { device_.deallocate_host(data_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    index size() const { return count_; }

  private:
    Device device_;
    index count_;
    T* data_;
};

/// A row-major matrix on a device.
template <class Device, class S>
class device_matrix {
  public:
    device_matrix() = default;
    device_matrix(const Device& device, index rows, index cols)
        : memory_(device, rows * cols), rows_(rows), cols_(cols) {}

    index rows() const { return rows_; }
    index cols() const { return cols_; }

    /// Changes the shape, in the same memory if that is large enough. Returns true if it had to give up its memory.
    bool reshape(const Device& device, index rows, index cols) {
        rows_ = rows, cols_ = cols;
        return memory_.grow(device, rows * cols);
    }

    friend matrix_view<S> view(device_matrix& m) { return {m.memory_.data(), m.rows_, m.cols_}; }
    friend matrix_view<const S> view(const device_matrix& m) { return {m.memory_.data(), m.rows_, m.cols_}; }

  private:
    buffer<Device, S> memory_;
    index rows_ = 0, cols_ = 0;
};

/// A vector on a device.
template <class Device, class S>
class device_vector {
  public:
    device_vector() = default;
    device_vector(const Device& device, index size) : memory_(device, size), size_(size) {}

    index size() const { return size_; }

    /// As device_matrix::reshape.
    bool reshape(const Device& device, index size) {
        size_ = size;
        return memory_.grow(device, size);
    }

    friend std::span<S> span_of(device_vector& v) { return {v.memory_.data(), static_cast<std::size_t>(v.size_)}; }
    friend std::span<const S> span_of(const device_vector& v) {
        return {v.memory_.data(), static_cast<std::size_t>(v.size_)};
    }

  private:
    buffer<Device, S> memory_;
    index size_ = 0;
};

/// Packed signs on a device, in the layout of bit_view.hpp; at first all -1.
template <class Device>
class device_bit_matrix {
  public:
    device_bit_matrix() = default;
    device_bit_matrix(const Device& device, index rows, index cols) : device_bit_matrix(uncleared(device, rows, cols)) {
        if (memory_.size() > 0) device.clear(memory_.data(), memory_.bytes());
    }
    /// Not initialized, for callers that write every word.
    static device_bit_matrix uncleared(const Device& device, index rows, index cols) {
        device_bit_matrix bits;
        bits.memory_ = {device, bit_layout::word_count(rows, cols)};
        bits.rows_ = rows, bits.cols_ = cols;
        return bits;
    }

    index rows() const { return rows_; }
    index cols() const { return cols_; }
    std::span<std::uint32_t> words() { return {memory_.data(), static_cast<std::size_t>(memory_.size())}; }
    bit_view view() const { return {memory_.data(), rows_, cols_}; }

  private:
    buffer<Device, std::uint32_t> memory_;
    index rows_ = 0, cols_ = 0;
};

}  // namespace subbit::gpu
