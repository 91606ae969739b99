// Packed products on a GPU backend against exact sums at odd sizes: on the emulation in tests/gpu, on a GPU in
// tests/cuda.
#pragma once

#include <subbit/backend/gpu.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <cstdint>
#include <limits>
#include <tuple>
#include <type_traits>

namespace subbit::testing {

template <class S>
matrix<S> drawn(index rows, index cols, std::uint64_t stream) {
    matrix<S> X(rows, cols);
    fill_normal(reference<S>(), random_stream(77, stream), X);
    return X;
}

/// Whole numbers whose sums are exact in float: a kernel that reads one wrong entry does not give the same sum.
template <class S>
matrix<S> whole_numbers(index rows, index cols, std::uint64_t stream) {
    return (drawn<S>(rows, cols, stream) * S(100)).array().round();
}

template <class S>
bit_matrix drawn_signs(index rows, index cols, std::uint64_t stream) {
    return bit_matrix::pack(drawn<S>(rows, cols, stream));
}

template <class B>
void check_bit_transposes(const B& b) {
    for (const index m : {1, 15, 16, 17, 33, 65, 130})
        for (const index n : {1, 31, 32, 33, 63, 100}) {
            const bit_matrix bits = drawn_signs<float>(m, n, 1);
            CAPTURE(m);
            CAPTURE(n);
            const auto turned = gpu::transpose_bits(b, gpu::upload_bits(b, bits).view());
            CHECK(gpu::download_bits(b, turned.view().words(), n, m) == bits.transpose());
        }
}

template <class S, class B>
void check_exact_product(const B& b, index m, index n, index tokens) {
    const bit_matrix bits = drawn_signs<S>(m, n, 2);
    const matrix<S> A = whole_numbers<S>(tokens, n, 3), C = whole_numbers<S>(tokens, m, 4);
    const matrix<S> product = A * bits.unpack<S>().transpose();
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(tokens);
    auto out = upload(b, matrix<S>::Constant(tokens, m, std::numeric_limits<S>::quiet_NaN()).eval());
    gemm(b, upload(b, A), bits.t(), out);
    CHECK((download(b, out) == product));
    auto sum = upload(b, C);
    gemm(b, upload(b, A), gpu::upload_bits(b, bits).view().t(), sum, 2, -1);
    CHECK((download(b, sum) == 2 * product - C));
}

template <class S, class B>
void check_exact_products(const B& b) {
    const auto check = [&](index m, index n, index tokens) { check_exact_product<S>(b, m, n, tokens); };
    for (const index n : {1, 31, 32, 33, 127, 128, 129, 300})
        check(33, n, 1);
    for (const index m : {1, 15, 16, 17, 31, 32, 63, 65})
        check(m, 63, 2);
    for (const index tokens : {3, 8, 9, 16})
        check(49, 161, tokens);
    check(3, 4100, 1);  // more entries than a block's threads hold at once
    if (sizeof(S) == 4) check(3, 12300, 1);
    check(17, 7000, 2);  // more entries than fit in shared memory at once
    if (sizeof(S) == 8) return check(33, 130, 17);
    check(33, 130, 17);   // tiles from here on
    check(260, 385, 50);  // two tiles of rows, two of tokens, more steps than stages
    for (const index tokens : {47, 48, 49})
        check(36, 129, tokens);
}

/// Products that go to a part of a matrix: aligned and not, rows together and apart; nothing else is written.
template <class S, class B>
void check_products_in_place(const B& b) {
    const index m = 36, n = 65, tokens = 19;
    const bit_matrix bits = drawn_signs<S>(m, n, 9);
    const matrix<S> A = whole_numbers<S>(tokens, n, 10), product = A * bits.unpack<S>().transpose();
    const auto check = [&](index first, index padding, index col_stride) {
        matrix<S> C = whole_numbers<S>(tokens + 2, (m + padding) * col_stride + first, 11);
        auto out = upload(b, C);
        const auto part = [&](matrix_view<S> all) {
            return matrix_view<S>(all.data + first, tokens, m, all.row_stride, col_stride);
        };
        CAPTURE(first);
        CAPTURE(padding);
        CAPTURE(col_stride);
        gemm(b, upload(b, A), bits.t(), part(view(out)));
        as_eigen(part(view(C))) = product;
        CHECK(download(b, out) == C);
        gemm(b, upload(b, A), bits.t(), part(view(out)), 3, 2);
        as_eigen(part(view(C))) *= S(5);  // 3 product + 2 product
        CHECK(download(b, out) == C);
    };
    for (const index first : {0, 1, 2})
        for (const index padding : {0, 2, 4})
            check(first, padding, 1);
    check(0, 0, 2);
}

template <class B>
void check_transposed_products(const B& b) {
    const index m = 33, n = 70;
    for (const index tokens : {1, 2, 5, 18}) {
        const bit_matrix bits = drawn_signs<float>(n, m, 5);
        const matrix<float> A = whole_numbers<float>(n, tokens, 6);
        auto out = allocate<float>(b, m, tokens);
        gemm(b, view(upload(b, A)).t(), bits.view(), view(out).t());
        CHECK(download(b, view(out).t()) == A.transpose() * bits.unpack<float>());
    }
}

/// Vectors that can, or cannot, be read four entries at a time: where they begin, and how far apart they are.
template <class S, class B>
void check_alignments(const B& b) {
    const index m = 35;
    for (const index n : {128, 260, 263})
        for (const index tokens : {1, 2, 3})
            for (const index offset : {0, 1, 4})
                for (const index padding : {1, 4, 8}) {
                    const bit_matrix bits = drawn_signs<S>(m, n, 9);
                    const matrix<S> wide = whole_numbers<S>(tokens, offset + n + padding, 10);
                    CAPTURE(n);
                    CAPTURE(tokens);
                    CAPTURE(offset);
                    CAPTURE(padding);
                    const auto on_device = upload(b, wide);
                    const matrix_view<const S> A(const_view(on_device).data + offset, tokens, n, wide.cols());
                    auto out = allocate<S>(b, tokens, m);
                    gemm(b, A, bits.t(), out);
                    CHECK(download(b, out) == wide.middleCols(offset, n) * bits.unpack<S>().transpose());
                }
}

/// A product by tiles of this shape, whatever shape the device would take for it: two parts, a bias, beta, some rows
/// and tokens of the last tile missing.
template <class Shape, class B>
void check_warpgroup_shape(const B& b, index m, index n, index tokens) {
    using device = typename B::device_type;
    CAPTURE(Shape::columns);
    const bit_matrix bits[] = {drawn_signs<float>(m, n, 12), drawn_signs<float>(m, n, 13)};
    // Few enough bits that bfloat16 and float sums are exact, too.
    const matrix<float> A = (drawn<float>(tokens, n, 14) * 20.0f).array().round();
    const matrix<float> bias = whole_numbers<float>(1, m, 15), old = whole_numbers<float>(tokens, m, 16);
    const auto x = upload(b, A), on_device = upload(b, bias);
    const gpu::device_bit_matrix<device> signs[] = {gpu::upload_bits(b, bits[0]), gpu::upload_bits(b, bits[1])};
    auto out = upload(b, old);
    gpu::packed_job<float, float, float> job;
    job.count = 1;
    job.outputs[0].part_count = 2;
    for (int p = 0; p < 2; ++p)
        job.outputs[0].parts[p] = {signs[p].view(), const_view(x), nullptr, nullptr, {}};
    job.outputs[0].bias = const_view(on_device).data;
    job.outputs[0].Y = view(out);
    job.outputs[0].alpha = 2;
    job.outputs[0].beta = -1;
    gpu::packed_workspace<device, float> work(b);
    if constexpr (std::is_same_v<typename Shape::numbers, gpu::rounded_numbers>)
        gpu::multiply_rounded<Shape>(b, job, work);
    else
        gpu::multiply_exact<Shape>(b, job, work);
    const matrix<float> sum = A * (bits[0].unpack<float>() + bits[1].unpack<float>()).transpose();
    CHECK(download(b, out) == 2 * (sum.rowwise() + bias.row(0)) - old);
}

template <class B>
void check_warpgroup_shapes(const B& b) {
    if (!b.device().has_warpgroup_products()) return;
    const auto check = [&]<class... Shapes>(std::tuple<Shapes...>) {
        (check_warpgroup_shape<Shapes>(b, 260, 129, Shapes::tokens + 3), ...);
        (check_warpgroup_shape<Shapes>(b, 31, 900, Shapes::tokens - 1), ...);
    };
    check(gpu::exact_shapes{});
    check(gpu::rounded_shapes{});
}

template <class B>
void check_special_numbers(const B& b) {
    const bit_matrix bits = drawn_signs<float>(20, 40, 7);
    for (const float special : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()})
        for (const index tokens : {2, 4, 17}) {
            matrix<float> A = drawn<float>(tokens, 40, 8);
            A(1, 39) = special;
            auto out = allocate<float>(b, tokens, 20);
            gemm(b, upload(b, A), bits.t(), out);
            const matrix<float> got = download(b, out);
            CHECK(got.row(1).array().isNaN().all());
            CHECK(got.row(0).allFinite());
        }
}

}  // namespace subbit::testing
