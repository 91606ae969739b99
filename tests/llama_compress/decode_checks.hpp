// The kernels of a token that make their own inputs, against those whose inputs kernels make: on the emulation in
// tests/llama_compress, on a GPU in tests/cuda.
#pragma once

#include "gpu/decode_attention.hpp"
#include "gpu/layer_inputs.hpp"

#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace llama::testing {

using subbit::matrix;

inline matrix<float> normal_matrix(index rows, index cols, std::uint64_t seed) {
    matrix<float> X(rows, cols);
    fill_normal(subbit::reference<float>(), subbit::random_stream(seed), X);
    return X;
}

/// Two outputs of an input's only row, by one launch: diag(post) B diag(pre) x with and without scales, and a sum of
/// two such paths with a bias that is added to what is there.
template <class B, class Input>
void check_products(const B& b, index n, const Input& input) {
    using source = decltype(input.source(nullptr));
    using output = subbit::gpu::vector_output<source, subbit::gpu::matrix_target<float>>;
    const index m = 37;
    std::vector<matrix<float>> pre, post;
    std::vector<subbit::bit_matrix> bits;
    for (std::uint64_t p = 0; p < 3; ++p) {
        pre.push_back(p == 0 ? matrix<float>::Ones(1, n).eval() : normal_matrix(1, n, 10 + p));
        post.push_back(p == 0 ? matrix<float>::Ones(1, m).eval() : normal_matrix(1, m, 20 + p));
        bits.push_back(subbit::bit_matrix::pack(normal_matrix(m, n, 30 + p)));
    }
    const auto bias = normal_matrix(1, m, 40), old = normal_matrix(1, m, 41);
    const auto pre1 = upload(b, pre[1]), pre2 = upload(b, pre[2]), post1 = upload(b, post[1]),
               post2 = upload(b, post[2]), bias_there = upload(b, bias);
    std::vector<decltype(subbit::gpu::upload_bits(b, bits[0]))> signs;
    for (const auto& packed : bits)
        signs.push_back(subbit::gpu::upload_bits(b, packed));
    auto first = subbit::allocate<float>(b, 1, m), second = upload(b, old);

    std::array<output, 2> outputs;
    outputs[0].parts[0] = {signs[0].view(), input.source(nullptr), nullptr};
    outputs[0].target.Y = view(first);
    outputs[1].part_count = 2;
    outputs[1].parts[0] = {signs[1].view(), input.source(view(pre1).data), view(post1).data};
    outputs[1].parts[1] = {signs[2].view(), input.source(view(pre2).data), view(post2).data};
    outputs[1].target = {view(bias_there).data, view(second), 1, 1};
    plane_products(b, std::span<const output>(outputs), 1);

    const Eigen::MatrixXd x = download(b, input.make(b)).template cast<double>();
    const auto product = [&](std::size_t p) {
        const Eigen::MatrixXd scaled = x.array() * pre[p].cast<double>().array();
        return Eigen::MatrixXd((scaled * bits[p].unpack<double>().transpose()).array() *
                               post[p].cast<double>().array());
    };
    const auto check = [](const matrix<float>& got, const Eigen::MatrixXd& expected) {
        if (expected.allFinite())
            CHECK((got.cast<double>() - expected).cwiseAbs().maxCoeff() < 2e-6 * expected.norm());
        else
            CHECK(got.array().isNaN().all());
    };
    check(download(b, first), product(0));
    check(download(b, second), product(1) + product(2) + bias.cast<double>() + old.cast<double>());
}

/// A product makes the norm or the gate that it reads.
template <class B>
void check_layer_inputs(const B& b) {
    for (const index n : {1, 2, 33, 128, 131, 576, 1540, 9001})
        for (const bool nan : {false, true}) {
            CAPTURE(n);
            CAPTURE(nan);
            auto X = normal_matrix(1, n, 1), G = normal_matrix(1, n, 2);
            if (nan) X(0, n / 2) = G(0, n / 2) = NAN;
            const auto x = upload(b, X), weight = upload(b, normal_matrix(1, n, 3)),
                       up = upload(b, normal_matrix(1, n, 4));
            auto made = subbit::allocate<float>(b, 1, n);
            const std::span<const float> weights(view(weight).data, static_cast<std::size_t>(n));
            check_products(b, n, normed_input{view(x), weights, {0.01}, view(made)});
            check_products(b, n, normed_input{view(x), weights, {0.01, 1.0}, view(made)});
            for (const activation kind : {activation::silu, activation::gelu_tanh}) {
                auto gate = upload(b, G);
                check_products(b, n, gated_input{kind, view(gate), view(up)});
            }
        }
}

/// A product puts the parts of an attention together.
template <class B>
void check_attention_input(const B& b) {
    for (const bool nan : {false, true})
        for (const int head_dim : {4, 28, 64, 160}) {
            CAPTURE(head_dim);
            const int heads = 5;
            auto numbers = upload(
                b, normal_matrix(heads * gpu_decode::token_shares, gpu_decode::attention_parts::stride(head_dim), 1));
            const gpu_decode::attention_parts parts{view(numbers).data, gpu_decode::token_shares, head_dim};
            // Totals are above 0; one share has no keys.
            matrix<float> there = download(b, numbers);
            there.col(1) = there.col(1).cwiseAbs().array() + 0.5F;
            there.row(9).setZero();
            there(9, 0) = -std::numeric_limits<float>::infinity();
            if (nan) there(17, gpu_decode::attention_parts::sum) = NAN;
            b.device().copy_to_device(view(numbers).data, there.data(),
                                      static_cast<std::size_t>(there.size()) * sizeof(float));
            auto made = subbit::allocate<float>(b, 1, heads * head_dim);
            check_products(b, heads * head_dim, attention_input{parts, view(made)});
        }
}

/// The rows of a cache that hold the tokens at positions begin .. end - 1 of X, NaN the others.
inline matrix<float> ring_of(const matrix<float>& X, index begin, index end, index rows) {
    matrix<float> ring = matrix<float>::Constant(rows, X.cols(), NAN);
    for (index position = begin; position < end; ++position)
        ring.row(position % rows) = X.row(position);
    return ring;
}

struct fresh_case {
    index head_dim;
    std::int32_t at, span;
    bool norms;
};

/// Attention of a token that its kernel norms, rotates and keeps, as if all that had been done before.
template <class B>
void check_fresh_token(const B& b, const fresh_case& c) {
    const int heads = 6;
    const index kv_heads = 2, width = kv_heads * c.head_dim, rows = gpu_decode::cache_rows(c.at + 2, c.span, 1);
    const auto q = upload(b, normal_matrix(1, heads * c.head_dim, 3)), k = upload(b, normal_matrix(1, width, 4)),
               v = upload(b, normal_matrix(1, width, 5)),
               angles = upload(b, normal_matrix(c.at + 1, c.head_dim / 2, 6)),
               other_angles = upload(b, normal_matrix(c.at + 1, c.head_dim / 2, 7)),
               q_weight = upload(b, normal_matrix(1, c.head_dim, 8)),
               k_weight = upload(b, normal_matrix(1, c.head_dim, 9));
    const gpu_decode::rotary_view table{view(angles), view(other_angles)};
    gpu_decode::head_norms norms{nullptr, nullptr, 0.1F, 1};
    if (c.norms) norms.queries = view(q_weight).data, norms.keys = view(k_weight).data;
    auto position = b.template scratch<std::int32_t>(1);
    b.device().copy_to_device(position.data(), &c.at, sizeof(c.at));
    auto numbers = b.template scratch<float>(gpu_decode::attention_numbers(1, heads, c.head_dim));
    const index begin = first_seen(c.at, c.span);
    const auto old_keys = ring_of(normal_matrix(c.at + 2, width, 1), begin, c.at, rows),
               old_values = ring_of(normal_matrix(c.at + 2, width, 2), begin, c.at, rows);
    struct kept {
        matrix<float> O, keys, values;
    };
    const auto attend = [&](bool fresh) {
        auto keys = upload(b, old_keys), values = upload(b, old_values), turned = q, key = k,
             out = subbit::allocate<float>(b, 1, heads * c.head_dim);
        const gpu_decode::cache_view cache{view(keys).data, view(values).data, width, static_cast<int>(rows), c.span};
        const gpu_decode::fresh_token token{view(k).data, view(v).data, table, norms};
        if (!fresh) {
            if (c.norms)
                for (const auto& [x, weight] : {std::pair{view(turned), norms.queries}, {view(key), norms.keys}})
                    gpu_decode::norm_heads(b, x, c.head_dim, weight, norms);
            b.launch({3}, gpu_decode::rotate_and_keep{view(turned), view(std::as_const(key)), view(v), table,
                                                      c.head_dim, position.data(), cache});
        }
        const auto parts = gpu_decode::attend(b, view(std::as_const(turned)), heads, 0.3, position.data(), cache,
                                              numbers.data(), fresh ? &token : nullptr);
        gpu_decode::merge(b, parts, view(out));
        return kept{download(b, out), download(b, keys), download(b, values)};
    };
    const kept expected = attend(false), got = attend(true);
    CHECK((got.O - expected.O).cwiseAbs().maxCoeff() < 1e-5);
    const index row = c.at % rows;
    CHECK((got.keys - expected.keys).row(row).cwiseAbs().maxCoeff() < 1e-5);
    CHECK(got.values.row(row) == expected.values.row(row));
    for (index other = 0; other < rows; ++other) {
        if (other == row) continue;
        const auto unchanged = [&](const matrix<float>& now, const matrix<float>& before) {
            return now.row(other) == before.row(other) ||
                   (now.row(other).array().isNaN().all() && before.row(other).array().isNaN().all());
        };
        CHECK(unchanged(got.keys, old_keys));
        CHECK(unchanged(got.values, old_values));
    }
}

template <class B>
void check_fresh_attention(const B& b) {
    for (const index head_dim : {2, 30, 64, 96, 160})
        for (const std::int32_t at : {0, 5, 41, 300})
            for (const std::int32_t span : {0, 1, 7, 40})
                for (const bool norms : {false, true}) {
                    CAPTURE(head_dim);
                    CAPTURE(at);
                    CAPTURE(span);
                    CAPTURE(norms);
                    check_fresh_token(b, {head_dim, at, span, norms});
                }
}

}  // namespace llama::testing
