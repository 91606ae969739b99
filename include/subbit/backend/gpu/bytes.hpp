// Products of 8-bit rows (ops/bytes.hpp).
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/kernels/bytes.hpp>
#include <subbit/backend/ops/bytes.hpp>

#include <cstdint>
#include <span>

namespace subbit {

template <class Device>
void do_byte_products(gpu_tag, const gpu_backend<Device>& b, matrix_view<const std::int8_t> W,
                      std::span<const std::int16_t> x, std::span<std::int32_t> y) {
    if (W.rows == 0) return;
    const auto address = reinterpret_cast<std::uintptr_t>(W.data) | reinterpret_cast<std::uintptr_t>(x.data());
    const bool aligned = (address | static_cast<std::uintptr_t>(W.row_stride)) % 16 == 0;
    b.launch(gpu::cover_by_warps(W.rows), gpu::byte_product_kernel{W, x.data(), y.data(), aligned});
}

}  // namespace subbit
