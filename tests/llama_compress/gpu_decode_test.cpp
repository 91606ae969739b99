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

/// The attention of query (t, h) to the keys up to position first + t.
Eigen::VectorXd attention_of(const matrix<float>& Q, const matrix<float>& K, const matrix<float>& V, index head_dim,
                             index first, index t, index h) {
    const index offset = h / (Q.cols() / K.cols()) * head_dim, visible = first + t + 1;
    Eigen::VectorXd weights(visible);
    for (index key = 0; key < visible; ++key)
        weights(key) = Q.row(t)
                           .segment(h * head_dim, head_dim)
                           .cast<double>()
                           .dot(K.row(key).segment(offset, head_dim).cast<double>()) /
                       std::sqrt(static_cast<double>(head_dim));
    weights = (weights.array() - weights.maxCoeff()).exp();
    return V.block(0, offset, visible, head_dim).cast<double>().transpose() * weights / weights.sum();
}

}  // namespace

TEST_CASE("attention to the cache, for one row and several, with more and with fewer keys than shares") {
    const subbit::emulated b;
    const int heads = 4;
    const index kv_heads = 2;
    for (const index head_dim : {2, 33, 96, 160})
        for (const index rows : {1, 3})
            for (const std::int32_t first : {0, 5, 41}) {
                CAPTURE(head_dim);
                CAPTURE(rows);
                CAPTURE(first);
                const index keys = first + rows + 2;  // the last two are not there yet
                const auto Q = normal_matrix(rows, heads * head_dim, 1);
                auto K = normal_matrix(keys, kv_heads * head_dim, 2), V = normal_matrix(keys, kv_heads * head_dim, 3);
                K.bottomRows(2).setConstant(NAN);
                V.bottomRows(2).setConstant(NAN);
                const auto q = upload(b, Q);
                auto k = upload(b, K), v = upload(b, V), out = subbit::allocate<float>(b, rows, heads * head_dim);
                auto position = b.scratch<std::int32_t>(1);
                b.device().copy_to_device(position.data(), &first, sizeof(first));
                auto numbers = b.scratch<float>(gpu_decode::attention_numbers(rows, heads, head_dim));
                const auto parts =
                    gpu_decode::attend(b, view(std::as_const(q)), heads, position.data(),
                                       {view(k).data, view(v).data, kv_heads * head_dim}, numbers.data());
                gpu_decode::merge(b, parts, view(out));
                const auto got = download(b, out);
                for (index t = 0; t < rows; ++t)
                    for (index h = 0; h < heads; ++h) {
                        const auto expected = attention_of(Q, K, V, head_dim, first, t, h);
                        const Eigen::VectorXd part =
                            got.row(t).segment(h * head_dim, head_dim).transpose().cast<double>();
                        CHECK((part - expected).cwiseAbs().maxCoeff() < 2e-5);
                    }
            }
}

}  // namespace llama::testing
