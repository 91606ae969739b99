// Products of 8-bit rows (ops/bytes.hpp).
#pragma once

#include <subbit/backend/cpu/products.hpp>
#include <subbit/backend/cpu/tag.hpp>
#include <subbit/backend/ops/bytes.hpp>

#include <cstdint>
#include <span>

namespace subbit {

template <class B>
void do_byte_products(cpu_tag, const B& b, matrix_view<const std::int8_t> W, std::span<const std::int16_t> x,
                      std::span<std::int32_t> y) {
    cpu_kernels::byte_products(cpu_kernels::machine(b), W, x, y);
}

}  // namespace subbit
