// gpu_backend<Device>: the operations of backend/ as launches of kernels. Device is cuda_device or emulated_device:
//
//     describe()                                   one line for people
//     another_stream(i)                            the same device, its work in an order of its own; the i-th of such,
//                                                  kept from the first call on
//     synchronize()                                waits for all that was asked for; throws what went wrong
//     allocate(bytes), deallocate(p, bytes)        in the order of the stream; what is given back is kept for the next
//     multiprocessors()                            how many
//     has_warpgroup_products()                     whether kernels that need them run (device/block.hpp)
//     owns(p)                                      true for an address of the device's memory
//     copy_to_device, copy_on_device, clear        (to, from, bytes), in the order of the stream
//     copy_to_host(to, from, bytes)                and waits
//     allocate_host(bytes), deallocate_host(p)     memory of the host for send and fetch (host_buffer)
//     send, fetch                                  (to, from, bytes), to and from the device, in the stream's order:
//                                                  the host's part stays as it is until synchronize() returns
//     singular()                                   an int of the host and the device: a solve leaves the size of a
//                                                  singular matrix there, and what waits next throws
//     launch(shape, kernel)                        (device/block.hpp)
//     record(f)                                    what f asks for, sends and fetches too, kept to be replayed:
//                                                  graph.replay(); memory that f takes and gives back stays the graph's
//     gemm, cholesky, cholesky_solve, eigenvectors what BLAS and LAPACK do, by columns (device/operand.hpp)
//     Device(gpu::no_device{})                     what an owner without memory holds
//
// Devices are values: copies share the stream and the handles.
#pragma once

#include <subbit/backend/concept.hpp>
#include <subbit/backend/gpu/device/block.hpp>
#include <subbit/backend/gpu/device/owners.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace subbit {

/// The tag of all GPUs. It extends only the root, so that an operation without a kernel does not compile: a reference
/// loop would read a device's memory from the host.
struct gpu_tag : backend_tag {};

/// A GPU, or its emulation. Operations return before their work is done; copies to the host wait for it. Copies of the
/// backend share the stream; use one from one thread at a time, and on_another_stream(i) for the i-th other thread.
template <class Device>
class gpu_backend {
  public:
    using tag = gpu_tag;
    static constexpr bool solves_by_products = true;
    using device_type = Device;
    template <class S>
    using matrix = gpu::device_matrix<Device, S>;
    template <class S>
    using vector = gpu::device_vector<Device, S>;
    using bits = gpu::device_bit_matrix<Device>;

    gpu_backend() = default;
    explicit gpu_backend(Device device) : device_(std::move(device)) {}

    const Device& device() const { return device_; }
    std::string describe() const { return device_.describe(); }
    void synchronize() const { device_.synchronize(); }
    gpu_backend on_another_stream(std::size_t i) const { return gpu_backend(device_.another_stream(i)); }

    /// `count` entries of T that are not initialized.
    template <class T>
    gpu::buffer<Device, T> scratch(index count) const {
        return {device_, count};
    }
    /// How often an owner of this stream has moved to larger memory: work that was recorded before may use the old
    /// memory.
    std::size_t moves() const { return *moves_; }
    void note_move() const { ++*moves_; }

    template <class Kernel>
    void launch(const gpu::launch_shape& shape, const Kernel& kernel) const {
        device_.launch(shape, kernel);
    }

  private:
    Device device_;
    std::shared_ptr<std::size_t> moves_ = std::make_shared<std::size_t>(0);
};

}  // namespace subbit
