// Plain versions of the instructions that a GPU has and a host has not; cuda/instructions.cuh has the GPU's.
#pragma once

#include <subbit/backend/emulated/block.hpp>
#include <subbit/backend/gpu/device/instructions.hpp>
#include <subbit/backend/gpu/packed/core_matrices.hpp>
#include <subbit/core/half.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace subbit::emulation {

namespace detail {

/// Of multiply_add and count_common.
struct multiply_operands {
    std::int32_t (&sums)[4];
    const gpu::sign_fragment& signs;
    const gpu::digit_fragment& digits;
};

template <class Sum>
struct warpgroup_operands {
    Sum* sums;
    const gpu::sign_fragment& signs;
};

/// The 32 bytes along the sum of a row or a column, as numbers.
template <class Number, class Sum>
std::array<Sum, 32 / sizeof(Number)> to_numbers(const std::array<std::byte, 32>& bytes) {
    std::array<Sum, 32 / sizeof(Number)> out;
    for (std::size_t k = 0; k < out.size(); ++k) {
        Number x;
        std::memcpy(&x, bytes.data() + k * sizeof(Number), sizeof(Number));
        out[k] = static_cast<Sum>(x);
    }
    return out;
}

/// A warpgroup's product: the signs as they were when it began.
template <class Sum, int Columns>
class warpgroup_product {
  public:
    explicit warpgroup_product(const std::uint32_t* columns) : columns_(columns) {}

    void take(int thread, const warpgroup_operands<Sum>& operands) {
        sums_[static_cast<std::size_t>(thread)] = operands.sums;
        const int row = thread / 32 * 16 + thread % 32 / 4, place = thread % 4 * 4;
        for (int word = 0; word < 4; ++word)
            std::memcpy(rows_[static_cast<std::size_t>(row + word % 2 * 8)].data() + word / 2 * 16 + place,
                        &operands.signs.word[word], 4);
    }
    void operator()() const {
        constexpr bool is_float = std::is_same_v<Sum, float>;
        using sign = std::conditional_t<is_float, bf16, std::uint8_t>;
        using number = std::conditional_t<is_float, bf16, std::int8_t>;
        std::array<decltype(to_numbers<number, Sum>(column_at(0))), Columns> X;
        for (int column = 0; column < Columns; ++column)
            X[static_cast<std::size_t>(column)] = to_numbers<number, Sum>(column_at(column));
        for (int row = 0; row < 64; ++row) {
            const auto a = to_numbers<sign, Sum>(rows_[static_cast<std::size_t>(row)]);
            for (int column = 0; column < Columns; ++column) {
                const auto& x = X[static_cast<std::size_t>(column)];
                Sum sum = 0;
                for (std::size_t k = 0; k < x.size(); ++k)
                    sum += a[k] * x[k];
                const int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
                sums_[static_cast<std::size_t>(thread)][column / 8 * 4 + row % 16 / 8 * 2 + column % 2] += sum;
            }
        }
    }

  private:
    std::array<std::byte, 32> column_at(int column) const {
        std::array<std::byte, 32> X;
        for (int piece = 0; piece < 2; ++piece)
            std::memcpy(
                X.data() + 16 * piece,
                reinterpret_cast<const std::byte*>(columns_) + gpu::core_matrices::byte_of(Columns, column, piece),
                gpu::core_matrices::piece_bytes);
        return X;
    }

    const std::uint32_t* columns_;
    std::array<Sum*, gpu::warpgroup_size> sums_;
    std::array<std::array<std::byte, 32>, 64> rows_;
};

}  // namespace detail

inline void multiply_add(block& b, std::int32_t (&sums)[4], const gpu::sign_fragment& signs,
                         const gpu::digit_fragment& digits) {
    detail::multiply_operands mine{sums, signs, digits};
    b.together(mine, [](auto of) {
        std::uint8_t A[16][32];
        std::int8_t X[8][32];
        for (int lane = 0; lane < gpu::warp_size; ++lane) {
            const int g = lane / 4, column = lane % 4 * 4;
            const detail::multiply_operands& from = of(lane);
            for (int half = 0; half < 2; ++half) {
                std::memcpy(A[g] + 16 * half + column, &from.signs.word[2 * half], 4);
                std::memcpy(A[g + 8] + 16 * half + column, &from.signs.word[2 * half + 1], 4);
                std::memcpy(X[g] + 16 * half + column, &from.digits.word[half], 4);
            }
        }
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                std::int32_t sum = 0;
                for (int j = 0; j < 32; ++j)
                    sum += A[row][j] * X[column][j];
                of(row % 8 * 4 + column / 2).sums[row / 8 * 2 + column % 2] += sum;
            }
    });
}

inline void count_common(block& b, std::int32_t (&counts)[4], const gpu::sign_fragment& signs,
                         const gpu::digit_fragment& planes) {
    detail::multiply_operands mine{counts, signs, planes};
    b.together(mine, [](auto of) {
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                int common = 0;
                for (int chunk = 0; chunk < 8; ++chunk) {
                    const int q = chunk % 4, half = chunk / 4;
                    const std::uint32_t a = of(4 * (row % 8) + q).signs.word[2 * half + row / 8];
                    const std::uint32_t x = of(4 * column + q).digits.word[half];
                    common += std::popcount(a & x);
                }
                of(row % 8 * 4 + column / 2).sums[row / 8 * 2 + column % 2] += common;
            }
    });
}

inline std::uint32_t pick_bytes(const block&, std::uint32_t x, std::uint32_t y, std::uint32_t selector) {
    const std::uint64_t bytes = std::uint64_t{y} << 32 | x;
    std::uint32_t picked = 0;
    for (int k = 0; k < 4; ++k)
        picked |= static_cast<std::uint32_t>(bytes >> 8 * (selector >> 4 * k & 7u) & 255u) << 8 * k;
    return picked;
}

inline std::int32_t byte_sum(const block&, std::uint32_t bytes) {
    std::int32_t sum = 0;
    for (int i = 0; i < 32; i += 8)
        sum += static_cast<std::int8_t>(static_cast<std::uint8_t>(bytes >> i & 255u));
    return sum;
}

inline std::int32_t multiply_bytes(const block&, std::uint32_t bytes, std::uint32_t first, std::uint32_t second,
                                   std::int32_t sum) {
    const std::uint64_t halves = std::uint64_t{second} << 32 | first;
    for (int i = 0; i < 4; ++i)
        sum += static_cast<std::int8_t>(static_cast<std::uint8_t>(bytes >> 8 * i & 255u)) *
               static_cast<std::int16_t>(static_cast<std::uint16_t>(halves >> 16 * i & 65535u));
    return sum;
}

template <class T>
T load_once(const block&, const T* address) {
    return *address;
}

inline void copy_async(const block&, void* to, const void* from) {
    std::memcpy(to, from, gpu::copy_bytes);
}
inline void commit_copies(const block&) {}
template <int Pending>
void wait_for_copies(const block&, gpu::pending_copies<Pending>) {}

/// Is done when it is waited for, with what shared memory has then.
template <class Sum, std::size_t Size>
void add_products(block& b, Sum (&sums)[Size], const gpu::sign_fragment& signs, const std::uint32_t* columns) {
    detail::warpgroup_product<Sum, 2 * Size> product(columns);
    detail::warpgroup_operands<Sum> mine{sums, signs};
    b.warpgroup_together(mine, [&](auto of) {
        for (int thread = 0; thread < gpu::warpgroup_size; ++thread)
            product.take(thread, of(thread));
        b.products().open.push_back(product);
    });
}
template <class... Signs>
void begin_products(const block&, Signs&...) {}
inline void commit_products(block& b) {
    int none = 0;
    b.warpgroup_together(none, [&](auto) { b.products().commit(); });
}
template <int Pending>
void wait_for_products(block& b, gpu::pending_products<Pending>) {
    int none = 0;
    b.warpgroup_together(none, [&](auto) { b.products().finish(Pending); });
}
template <class... Sums>
void finish_products(block& b, Sums&...) {
    wait_for_products(b, gpu::pending_products<0>());
}
inline void make_arrivals(block& b, gpu::arrival* arrivals, int count) {
    for (int i = 0; i < count; ++i)
        arrivals[i].state = b.bulk().make_arrival();
}
inline void copy_bulk(block& b, void* to, const void* from, int bytes, gpu::arrival& a) {
    b.bulk().begin(a.state, to, from, bytes);
}
inline void wait_for_bulk(block& b, gpu::arrival& a, int parity) {
    b.bulk().wait(a.state, b.thread(), parity);
}
inline void release_to_bulk(const block&) {}

inline std::uint32_t unit_pair(const block&, std::uint32_t bits) {
    return (~bits & 0x80008000u) | 0x3f803f80u;
}
inline std::uint32_t rounded_pair(const block&, float low, float high) {
    return std::uint32_t{to_bf16(high)} << 16 | to_bf16(low);
}

inline void wait_for_predecessor(block& b) {
    b.note_wait();
}

}  // namespace subbit::emulation
