// Whole binary layers and products of 8-bit rows on a GPU backend: on the emulation in tests/gpu, on a GPU in
// tests/cuda.
#pragma once

#include <subbit/backend/gpu.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

namespace subbit::testing {

inline matrix<float> normal_matrix(index rows, index cols, std::uint64_t stream) {
    matrix<float> X(rows, cols);
    fill_normal(reference<float>(), random_stream(78, stream), X);
    return X;
}
inline vector<float> normal_vector(index n, std::uint64_t stream) {
    return normal_matrix(n, 1, stream);
}

inline low_rank_binary_linear<float> normal_layer(index m, index r, index n, std::uint64_t stream, bool full) {
    low_rank_binary_linear<float> layer{bit_matrix::pack(normal_matrix(m, r, stream)),
                                        bit_matrix::pack(normal_matrix(r, n, stream + 1)),
                                        normal_vector(m, stream + 2),
                                        normal_vector(n, stream + 3),
                                        {},
                                        {}};
    if (full) {
        layer.s_mid = normal_vector(r, stream + 4);
        layer.bias = normal_vector(m, stream + 5);
    }
    return layer;
}

template <class T>
std::vector<T> converted(const matrix<float>& X) {
    std::vector<T> out;
    for (index i = 0; i < X.size(); ++i)
        out.push_back(static_cast<T>(X.data()[i]));
    return out;
}
template <class T>
matrix<float> converted_back(const std::vector<T>& values, index rows, index cols) {
    matrix<float> X(rows, cols);
    for (index i = 0; i < X.size(); ++i)
        X.data()[i] = static_cast<float>(values[static_cast<std::size_t>(i)]);
    return X;
}

/// What is in the output of layer l before a job.
inline matrix<float> old_output(index tokens, index m, std::size_t l) {
    return normal_matrix(tokens, m, 41 + l);
}

/// The outputs of layers in one job, for activations of the type T; beta times the old output is added.
template <class T, class B>
std::vector<matrix<float>> outputs(const B& b, const std::vector<low_rank_binary_linear<float>>& layers,
                                   const matrix<float>& X, float beta = 0, apply_options options = {}) {
    const std::vector<T> host_x = converted<T>(X);
    auto x = b.template scratch<T>(X.size());
    b.device().copy_to_device(x.data(), host_x.data(), x.bytes());
    std::vector<low_rank_binary_linear<float, B>> on_device;
    std::vector<gpu::buffer<typename B::device_type, T>> Y;
    for (const auto& layer : layers) {
        on_device.push_back(upload(b, layer));
        Y.push_back(b.template scratch<T>(X.rows() * layer.rows()));
        const std::vector<T> old = converted<T>(old_output(X.rows(), layer.rows(), Y.size() - 1));
        if (beta != 0) b.device().copy_to_device(Y.back().data(), old.data(), Y.back().bytes());
    }
    std::vector<device_layer_output<typename B::device_type, T>> parts;
    for (std::size_t l = 0; l < layers.size(); ++l)
        parts.push_back({on_device[l], matrix_view<T>(Y[l].data(), X.rows(), layers[l].rows()), beta});
    gpu::packed_workspace<typename B::device_type, float> work(b);
    apply_layers(b, matrix_view<const T>(x.data(), X.rows(), X.cols()),
                 std::span<const device_layer_output<typename B::device_type, T>>(parts), work, options);
    std::vector<matrix<float>> host;
    for (std::size_t l = 0; l < layers.size(); ++l) {
        std::vector<T> y(static_cast<std::size_t>(Y[l].size()));
        b.device().copy_to_host(y.data(), Y[l].data(), Y[l].bytes());
        host.push_back(converted_back(y, X.rows(), layers[l].rows()));
    }
    return host;
}

inline double relative_error(const matrix<float>& got, const matrix<float>& expected) {
    return static_cast<double>((got - expected).norm()) / static_cast<double>(expected.norm());
}

/// One job, without and with the old outputs.
template <class T, class B>
void check_layer_job(const B& b, const std::vector<low_rank_binary_linear<float>>& layers, index tokens) {
    const double unit = std::is_same_v<T, float> ? 1e-6 : std::is_same_v<T, f16> ? 1e-3 : 8e-3;
    const index n = layers.front().cols();
    const matrix<float> X = converted_back(converted<T>(normal_matrix(tokens, n, 40)), tokens, n);
    const auto got = outputs<T>(b, layers, X), added = outputs<T>(b, layers, X, 1);
    for (std::size_t l = 0; l < layers.size(); ++l) {
        matrix<float> expected(tokens, layers[l].rows());
        layers[l].apply(reference<float>(), X, expected);
        CAPTURE(tokens);
        CAPTURE(l);
        CHECK(relative_error(got[l], expected) < unit);
        CHECK(relative_error(added[l], expected + old_output(tokens, layers[l].rows(), l)) < unit);
    }
}

template <class T, class B>
void check_layer_jobs(const B& b) {
    const std::vector odd = {normal_layer(33, 17, 63, 10, false), normal_layer(65, 40, 63, 20, true),
                             normal_layer(1, 1, 63, 30, true)};
    const std::vector even = {normal_layer(36, 20, 132, 11, true), normal_layer(8, 64, 132, 21, false)};
    for (const auto& layers : {odd, even})
        for (const index tokens : {1, 2, 3, 8, 17})
            check_layer_job<T>(b, layers, tokens);
}

/// Layers of rank 0, which have no signs to wait for, among others.
template <class B>
void check_empty_ranks(const B& b) {
    const std::vector layers = {normal_layer(1500, 64, 40, 12, true), normal_layer(1500, 0, 40, 22, true),
                                normal_layer(1500, 64, 40, 32, true)};
    for (const index tokens : {1, 3, 5})
        check_layer_job<float>(b, layers, tokens);
}

/// With packed_precision::bf16, within what apply_options says; the same for 17 tokens as for more, and exact for
/// fewer.
template <class T, class B>
void check_rounded_layers(const B& b) {
    const apply_options rounded{packed_precision::bf16};
    const bool rounds = b.device().has_warpgroup_products();
    const std::vector odd = {normal_layer(33, 17, 63, 10, false), normal_layer(65, 40, 63, 20, true)};
    const std::vector even = {normal_layer(36, 20, 132, 11, true), normal_layer(8, 140, 132, 21, false)};
    for (const auto& layers : {odd, even}) {
        const index n = layers.front().cols(), tokens = 37;
        matrix<float> X = converted_back(converted<T>(normal_matrix(tokens, n, 40)), tokens, n);
        const auto got = outputs<T>(b, layers, X, 1, rounded), exact = outputs<T>(b, layers, X, 1);
        const auto some = outputs<T>(b, layers, X.topRows(17), 1, rounded);
        const index few_tokens = gpu::most_vectors(b);
        const auto few = outputs<T>(b, layers, X.topRows(few_tokens), 1, rounded);
        const auto few_exact = outputs<T>(b, layers, X.topRows(few_tokens), 1);
        X(5, n - 1) = std::numeric_limits<float>::quiet_NaN();
        const auto special = outputs<T>(b, layers, X, 1, rounded);
        for (std::size_t l = 0; l < layers.size(); ++l) {
            CAPTURE(l);
            CHECK((got[l] != exact[l]) == rounds);
            CHECK(relative_error(got[l], exact[l]) < 6e-3);
            CHECK(some[l] == got[l].topRows(17));
            CHECK(few[l] == few_exact[l]);
            CHECK(special[l].row(5).array().isNaN().all());
            CHECK(special[l].topRows(5) == got[l].topRows(5));
            CHECK(special[l].bottomRows(tokens - 6) == got[l].bottomRows(tokens - 6));
        }
    }
}

/// Few tokens, and more: two kinds of kernels, which round the vectors differently.
template <class B>
void check_token_independence(const B& b) {
    const index few_tokens = b.device().has_warpgroup_products() ? 4 : 2;
    const matrix<float> X = normal_matrix(49, 100, 51);
    for (const bool full : {false, true})
        for (const index m : {49, 52}) {
            const std::vector layers = {normal_layer(m, m - 16, 100, 50, full)};
            const float beta = full ? 1.0f : 0.0f;
            const auto of_first = [&](index tokens) {
                return outputs<float>(b, layers, X.topRows(tokens), beta).front();
            };
            const matrix<float> few = of_first(few_tokens), many = of_first(49);
            CHECK((of_first(1) == few.topRows(1)));
            for (const index tokens : {5, 7, 16, 17, 48})
                CHECK((of_first(tokens) == many.topRows(tokens)));
            CHECK(relative_error(few, many.topRows(few_tokens)) < 1e-6);
        }
}

template <class B>
void check_residual_layers(const B& b) {
    const auto check = [&](index m, index tokens) {
        residual_binary_linear<float> layer;
        for (const std::uint64_t p : {60u, 70u, 80u})
            layer.paths.push_back(
                {bit_matrix::pack(normal_matrix(m, 129, p)), normal_vector(m, p + 1), normal_vector(129, p + 2)});
        layer.bias = normal_vector(m, 90);
        const matrix<float> X = normal_matrix(tokens, 129, 91);
        auto Y = allocate<float>(b, tokens, m);
        const auto x = upload(b, X);
        layer.apply(b, const_view(x), view(Y));
        matrix<float> expected(tokens, m);
        layer.apply(reference<float>(), X, expected);
        CHECK(relative_error(download(b, Y), expected) < 1e-6);
    };
    for (const index tokens : {1, 2, 5, 20})
        check(41, tokens);
    check(44, 20);
}

template <class B>
void check_recorded_layers(const B& b) {
    const auto layer = normal_layer(33, 20, 40, 95, true);
    const auto on_device = upload(b, layer);
    gpu::packed_workspace<typename B::device_type, float> work(b);
    auto x = allocate<float>(b, 1, 40), y = allocate<float>(b, 1, 33);
    const auto run = [&] {
        const device_layer_output<typename B::device_type, float> part{on_device, view(y)};
        apply_layers(b, const_view(x), std::span(&part, 1), work);
    };
    run();
    const auto graph = b.device().record(run);
    for (const std::uint64_t token : {96u, 97u}) {
        const matrix<float> X = normal_matrix(1, 40, token);
        b.device().copy_to_device(view(x).data, X.data(), 40 * sizeof(float));
        graph.replay();
        matrix<float> expected(1, 33);
        layer.apply(reference<float>(), X, expected);
        CHECK(relative_error(download(b, y), expected) < 1e-6);
    }
}

template <class B>
void check_byte_rows(const B& b) {
    const random_stream random(5);
    for (const index n : {1, 15, 16, 31, 64, 528})
        for (const index padding : {0, 1}) {
            const index m = 19, stride = n + padding;
            std::vector<std::int8_t> w(static_cast<std::size_t>(m * stride));
            for (std::size_t i = 0; i < w.size(); ++i)
                w[i] = static_cast<std::int8_t>(static_cast<int>(random.below(i, 256)) - 128);
            std::vector<std::int16_t> x(static_cast<std::size_t>(n));
            for (std::size_t j = 0; j < x.size(); ++j)
                x[j] = static_cast<std::int16_t>(static_cast<int>(random.below(1000 + j, 65536)) - 32768);
            std::vector<std::int32_t> expected(static_cast<std::size_t>(m));
            byte_products(reference<float>(), matrix_view<const std::int8_t>(w.data(), m, n, stride), x, expected);
            const auto rows = upload(b, std::span<const std::int8_t>(w));
            const auto entries = upload(b, std::span<const std::int16_t>(x));
            auto y = allocate<std::int32_t>(b, m);
            byte_products(b, matrix_view<const std::int8_t>(span_of(rows).data(), m, n, stride), span_of(entries),
                          span_of(y));
            const auto got = download(b, std::span<const std::int32_t>(span_of(y)));
            CHECK(std::vector<std::int32_t>(got.begin(), got.end()) == expected);
        }
}

}  // namespace subbit::testing
