// The kernels of generation, emulated, against plain loops in double.
#include "gpu/decode_attention.hpp"
#include "llama_compress/decode_checks.hpp"

#include <subbit/backend/emulated.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace llama::testing {

namespace {

constexpr double scale = 0.3;

/// The attention of query (t, h) to the keys that it sees, up to position first + t.
Eigen::VectorXd attention_of(const matrix<float>& Q, const matrix<float>& K, const matrix<float>& V, index head_dim,
                             index first, index span, index t, index h) {
    const index offset = h / (Q.cols() / K.cols()) * head_dim, begin = first_seen(first + t, span),
                seen = first + t + 1 - begin;
    Eigen::VectorXd weights(seen);
    for (index key = 0; key < seen; ++key)
        weights(key) = scale * Q.row(t)
                                   .segment(h * head_dim, head_dim)
                                   .cast<double>()
                                   .dot(K.row(begin + key).segment(offset, head_dim).cast<double>());
    weights = (weights.array() - weights.maxCoeff()).exp();
    return V.block(begin, offset, seen, head_dim).cast<double>().transpose() * weights / weights.sum();
}

void check_attention_to_cache(index head_dim, index rows, std::int32_t first, int span) {
    const subbit::emulated b;
    const int heads = 4;
    const index kv_heads = 2, width = kv_heads * head_dim;
    const index keys = first + rows, held = gpu_decode::cache_rows(keys + 2, span, rows);
    const auto Q = normal_matrix(rows, heads * head_dim, 1), K = normal_matrix(keys, width, 2),
               V = normal_matrix(keys, width, 3);
    const index begin = first_seen(first, span);
    const auto q = upload(b, Q);
    auto k = upload(b, ring_of(K, begin, keys, held)), v = upload(b, ring_of(V, begin, keys, held)),
         out = subbit::allocate<float>(b, rows, heads * head_dim);
    auto position = b.scratch<std::int32_t>(1);
    b.device().copy_to_device(position.data(), &first, sizeof(first));
    auto numbers = b.scratch<float>(gpu_decode::attention_numbers(rows, heads, head_dim));
    const auto parts =
        gpu_decode::attend(b, view(std::as_const(q)), heads, scale, position.data(),
                           {view(k).data, view(v).data, width, static_cast<int>(held), span}, numbers.data());
    gpu_decode::merge(b, parts, view(out));
    const auto got = download(b, out);
    for (index t = 0; t < rows; ++t)
        for (index h = 0; h < heads; ++h) {
            const auto expected = attention_of(Q, K, V, head_dim, first, span, t, h);
            const Eigen::VectorXd part = got.row(t).segment(h * head_dim, head_dim).transpose().cast<double>();
            CHECK((part - expected).cwiseAbs().maxCoeff() < 2e-5);
        }
}

}  // namespace

TEST_CASE("attention to the cache, for one row and several, with more and with fewer keys than shares, all spans") {
    for (const index head_dim : {2, 33, 96, 160})
        for (const index rows : {1, 3})
            for (const std::int32_t first : {0, 5, 41, 250})
                for (const int span : {0, 1, 6, 47}) {
                    CAPTURE(head_dim);
                    CAPTURE(rows);
                    CAPTURE(first);
                    CAPTURE(span);
                    check_attention_to_cache(head_dim, rows, first, span);
                }
}

TEST_CASE("several tokens' keys, normed and rotated, and values go to their rows of the cache") {
    const subbit::emulated b;
    const index head_dim = 6, heads = 3, kv_heads = 2, width = kv_heads * head_dim, tokens = 5;
    const std::int32_t first = 19;
    const int held = 11;
    auto Q = normal_matrix(tokens, heads * head_dim, 1), K = normal_matrix(tokens, width, 2),
         V = normal_matrix(tokens, width, 3);
    const auto weight = upload(b, normal_matrix(1, head_dim, 4));
    const auto cosine = normal_matrix(30, head_dim / 2, 5), sine = normal_matrix(30, head_dim / 2, 6);
    auto q = upload(b, Q), k = upload(b, K), keys = subbit::allocate<float>(b, held, width),
         values = subbit::allocate<float>(b, held, width);
    const auto v = upload(b, V), c = upload(b, cosine), s = upload(b, sine);
    auto position = b.scratch<std::int32_t>(1);
    b.device().copy_to_device(position.data(), &first, sizeof(first));
    const gpu_decode::head_norms norms{view(weight).data, view(weight).data, 0.1F, 1};
    gpu_decode::norm_heads(b, view(q), head_dim, norms.queries, norms);
    gpu_decode::norm_heads(b, view(k), head_dim, norms.keys, norms);
    b.launch({3}, gpu_decode::rotate_and_keep{view(q),
                                              view(std::as_const(k)),
                                              view(v),
                                              {view(c), view(s)},
                                              head_dim,
                                              position.data(),
                                              {view(keys).data, view(values).data, width, held, 6}});
    const auto w = download(b, weight);
    const auto rotated = [&](const matrix<float>& X, index t, index col) {
        const auto x = X.row(t).segment(col / head_dim * head_dim, head_dim);
        const float inverse = 1 / std::sqrt(x.squaredNorm() / static_cast<float>(head_dim) + 0.1F);
        const index half = head_dim / 2, at = col % head_dim, j = at % half;
        const auto normed = [&](index i) { return x(i) * inverse * (1 + w(0, i)); };
        const float sign = at < half ? -1.0F : 1.0F;
        return normed(at) * cosine(first + t, j) + sign * normed((at + half) % head_dim) * sine(first + t, j);
    };
    for (index t = 0; t < tokens; ++t) {
        const index row = (first + t) % held;
        CHECK(download(b, values).row(row) == V.row(t));
        for (index col = 0; col < width; ++col)
            CHECK(download(b, keys)(row, col) == doctest::Approx(rotated(K, t, col)).epsilon(1e-5));
        for (index col = 0; col < heads * head_dim; ++col)
            CHECK(download(b, q)(t, col) == doctest::Approx(rotated(Q, t, col)).epsilon(1e-5));
    }
}

}  // namespace llama::testing
