// Memory that packed products need on their way.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/device/owners.hpp>
#include <subbit/core/half.hpp>

#include <cstdint>

namespace subbit::gpu {

/// Memory that packed products need for the time of a call. It grows and never shrinks, so that calls that repeat, and
/// those that a graph records, allocate nothing.
template <class Device, class Real>
class packed_workspace {
  public:
    explicit packed_workspace(const gpu_backend<Device>& b) : device_(b.device()) {}

    Real* hidden(index count) { return at_least(hidden_, count); }
    bf16* rounded_hidden(index count) { return at_least(rounded_hidden_, count); }
    std::uint32_t* planes(index count) { return at_least(planes_, count); }
    std::uint32_t* words(index count) { return at_least(words_, count); }
    std::int32_t* sums(index count) { return at_least(sums_, count); }
    Real* to_real(index count) { return at_least(to_real_, count); }

  private:
    template <class T>
    T* at_least(buffer<Device, T>& memory, index count) {
        if (memory.size() < count) memory = buffer<Device, T>(device_, count);
        return memory.data();
    }

    Device device_;
    buffer<Device, Real> hidden_, to_real_;
    buffer<Device, bf16> rounded_hidden_;
    buffer<Device, std::uint32_t> planes_, words_;
    buffer<Device, std::int32_t> sums_;
};

}  // namespace subbit::gpu
