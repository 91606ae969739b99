// Attention to a cache of keys and values against attention within a window.
#include "model/cached_attention.hpp"

#include "../support/throws.hpp"
#include "tiny_block.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace llama {
namespace {

using subbit::view;
using subbit::testing::random_matrix;

const subbit::reference<double> on_reference;

/// Appends a text to a cache in pieces that `sizes` gives in turn, and leaves the attention of every token to it in
/// `out`.
template <class S, class B>
void attend_in_pieces(const B& b, const matrix<S>& Q, const matrix<S>& K, const matrix<S>& V, key_value_cache<S>& cache,
                      std::span<const index> sizes, matrix<S>& out) {
    out.resize(Q.rows(), Q.cols());
    for (std::size_t i = 0; cache.length() < Q.rows(); ++i) {
        const index at = cache.length(), count = std::min(sizes[i % sizes.size()], Q.rows() - at);
        cache.append(b, const_view(K).middle_rows(at, count), const_view(V).middle_rows(at, count));
        cached_attention(b, 0.3, const_view(Q).middle_rows(at, count), cache, view(out).middle_rows(at, count));
    }
}

}  // namespace

TEST_CASE_TEMPLATE("the newest tokens attend to a cache as the last ones of a window do", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 1e-5 : 1e-13;
    struct heads_shape {
        index heads, kv_heads, head_dim;
    };
    for (const auto& s : {heads_shape{1, 1, 2}, {3, 1, 64}, {9, 3, 64}, {4, 2, 20}, {8, 1, 16}, {10, 2, 34}})
        for (const index length : {1, 2, 31, 32, 33, 200}) {
            CAPTURE(s.heads);
            CAPTURE(s.head_dim);
            CAPTURE(length);
            const index width = s.kv_heads * s.head_dim;
            const auto Q = random_matrix<S>(length, s.heads * s.head_dim, 1), K = random_matrix<S>(length, width, 2),
                       V = random_matrix<S>(length, width, 3);
            matrix<S> whole(length, Q.cols());
            attention(on_reference, {1, length, length, s.heads, s.kv_heads, s.head_dim, 0.3}, const_view(Q),
                      const_view(K), const_view(V), view(whole));
            key_value_cache<S> cache(length, s.kv_heads, s.head_dim);
            cache.append(on_reference, const_view(K).middle_rows(0, length / 2),
                         const_view(V).middle_rows(0, length / 2));
            cache.append(on_reference, const_view(K).middle_rows(length / 2, length - length / 2),
                         const_view(V).middle_rows(length / 2, length - length / 2));
            cache.visit_tiles([&](const auto& tiles) {
                if constexpr (std::decay_t<decltype(tiles)>::number::is_rounded)
                    FAIL("a cache of bfloat16s");
                else
                    for (index begin = 0; begin < length; begin += cache.tile)
                        for (index h = 0; h < s.kv_heads; ++h) {
                            const index count = std::min(cache.tile, length - begin), column = h * s.head_dim;
                            const matrix<S> keys = subbit::as_eigen(tiles.keys(begin / cache.tile, h)),
                                            values = subbit::as_eigen(tiles.values(begin / cache.tile, h));
                            CHECK(keys.leftCols(count) == K.block(begin, column, count, s.head_dim).transpose());
                            CHECK(keys.rightCols(cache.tile - count).isZero(0));
                            CHECK(values.topRows(count) == V.block(begin, column, count, s.head_dim));
                        }
            });
            for (const index tokens : {index{1}, (length + 1) / 2, length}) {
                const auto newest = const_view(Q).middle_rows(length - tokens, tokens);
                matrix<S> O(tokens, Q.cols()), other(tokens, Q.cols()), singles;
                const auto error = [&] { return (O - whole.bottomRows(tokens)).cwiseAbs().maxCoeff(); };
                cached_attention(on_reference, 0.3, newest, cache, view(O));
                CHECK(error() < tolerance);
                for (const subbit::isa i : subbit::testing::runnable_isas()) {
                    cached_attention(subbit::testing::make_cpu(i, 1), 0.3, newest, cache, view(O));
                    CHECK(error() < tolerance);
                    cached_attention(subbit::testing::make_cpu(i, 2), 0.3, newest, cache, view(other));
                    CHECK(O == other);
                    // A prompt's tokens together, and one by one, have the same bits.
                    key_value_cache<S> growing(length, s.kv_heads, s.head_dim);
                    attend_in_pieces(subbit::testing::make_cpu(i, 1), Q, K, V, growing, std::vector<index>{1}, singles);
                    CHECK(O == singles.bottomRows(tokens));
                }
            }
        }
}

TEST_CASE_TEMPLATE("a cache of a sliding window goes round and gives what attention gives", S, float, double) {
    const double tolerance = std::is_same_v<S, float> ? 1e-5 : 1e-13;
    const index length = 1201, head_dim = 6, heads = 3, width = head_dim;
    const auto Q = random_matrix<S>(length, heads * head_dim, 1), K = random_matrix<S>(length, width, 2),
               V = random_matrix<S>(length, width, 3);
    const subbit::cpu b = subbit::testing::make_cpu(subbit::testing::runnable_isas().back(), 2);
    for (const index span : {1, 2, 31, 33, 100, 700, 5000}) {
        CAPTURE(span);
        matrix<S> whole(length, Q.cols()), pieces, singles;
        attention(on_reference, {1, length, length, heads, 1, head_dim, 0.3, span}, const_view(Q), const_view(K),
                  const_view(V), view(whole));
        key_value_cache<S> ring(length, 1, head_dim, span), single_ring(length, 1, head_dim, span);
        attend_in_pieces(b, Q, K, V, ring, std::vector<index>{256, 1, 37, 90, 255}, pieces);
        CHECK((pieces - whole).cwiseAbs().maxCoeff() < tolerance);
        attend_in_pieces(b, Q, K, V, single_ring, std::vector<index>{1}, singles);
        CHECK(singles == pieces);
        CHECK(ring.held() <= std::min<index>(length, span + 256) + 2 * key_value_cache<S>::tile);
    }
}

TEST_CASE_TEMPLATE("a cache of bfloat16s is one of numbers that are rounded to them", S, float, double) {
    const auto rounded = [](const matrix<S>& X) {
        return matrix<S>(X.unaryExpr([](S x) { return S(subbit::from_bf16(subbit::to_bf16(static_cast<float>(x)))); }));
    };
    for (const index head_dim : {2, 20, 34, 64})
        for (const index span : {0, 40}) {
            CAPTURE(head_dim);
            CAPTURE(span);
            const index length = 301, kv_heads = 2, width = kv_heads * head_dim;
            const auto Q = random_matrix<S>(length, 3 * width, 1), K = random_matrix<S>(length, width, 2),
                       V = random_matrix<S>(length, width, 3);
            const std::vector<index> pieces{200, 1, 17, 1, 1};
            for (const subbit::isa i : subbit::testing::runnable_isas()) {
                const auto b = subbit::testing::make_cpu(i, 2);
                key_value_cache<S> of_bf16(length, kv_heads, head_dim, span, cache_format::bf16),
                    of_rounded(length, kv_heads, head_dim, span);
                matrix<S> found, expected;
                CHECK(of_bf16.visit_tiles(
                    [](const auto& tiles) { return std::decay_t<decltype(tiles)>::number::is_rounded; }));
                attend_in_pieces(b, Q, K, V, of_bf16, pieces, found);
                attend_in_pieces(b, Q, rounded(K), rounded(V), of_rounded, pieces, expected);
                CHECK(found == expected);
            }
        }
}

TEST_CASE("a cache of a sliding window says how much it takes") {
    key_value_cache<float> cache(600, 1, 4, 10);
    const auto K = random_matrix<float>(300, 4, 1);
    subbit::testing::check_throws<subbit::shape_error>(
        [&] { cache.append(on_reference, const_view(K), const_view(K)); }, {"sliding window", "300", "256"});
    const auto append = [&](index tokens) {
        cache.append(on_reference, const_view(K).middle_rows(0, tokens), const_view(K).middle_rows(0, tokens));
    };
    append(256);
    append(256);
    append(88);
    subbit::testing::check_throws<subbit::shape_error>([&] { append(1); }, {"cache of 600 tokens", "601"});
}

}  // namespace llama
