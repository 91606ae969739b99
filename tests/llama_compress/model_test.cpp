// The Llama's parts: gradients against finite differences, caches and windows against the plain forward pass.
#include "../support/finite_differences.hpp"
#include "../support/throws.hpp"
#include "tiny_block.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/reference.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <limits>
#include <numbers>
#include <span>
#include <type_traits>
#include <utility>

namespace llama {
namespace {

using subbit::span_of;
using subbit::view;
using subbit::testing::directional_error;
using subbit::testing::entries;
using subbit::testing::gradient_error;
using subbit::testing::random_matrix;

const subbit::reference<double> exact;

/// The same random numbers as fixed weights of a loss that is linear in an operation's outputs.
double weighted_sum(const matrix<double>& Y) {
    return Y.cwiseProduct(random_matrix<double>(Y.rows(), Y.cols(), 99)).sum();
}
matrix<double> loss_weights(index rows, index cols) {
    return random_matrix<double>(rows, cols, 99);
}

}  // namespace

TEST_CASE("gradients of RMSNorm, with and without an offset of the weights, for few rows and many narrow ones") {
    struct sizes {
        index rows, cols;
    };
    for (const double offset : {0.0, 1.0})
        for (const sizes& size : {sizes{5, 7}, {1, 1}, {2077, 16}}) {
            const index rows = size.rows, cols = size.cols;
            CAPTURE(offset);
            CAPTURE(rows);
            const norm_rule rule{1e-2, offset};
            auto X = random_matrix<double>(rows, cols, 1);
            vector<double> weight = random_matrix<double>(cols, 1, 2), d_weight(cols);
            matrix<double> Y(rows, cols), dX = matrix<double>::Constant(rows, cols, 3.0);
            subbit::vector<double> inverse;
            const auto loss = [&] {
                rms_norm(exact, const_view(X), span_of(std::as_const(weight)), rule, view(Y), inverse);
                return weighted_sum(Y);
            };
            loss();
            const index last = cols - 1;
            CHECK(Y(0, last) == doctest::Approx(X(0, last) * (offset + weight(last)) /
                                                std::sqrt(X.row(0).squaredNorm() / static_cast<double>(cols) + 1e-2)));
            const auto dY = loss_weights(rows, cols);
            rms_norm_backward(exact, const_view(X), span_of(std::as_const(weight)), rule, inverse, const_view(dY),
                              view(dX), span_of(d_weight));
            dX.array() -= 3.0;  // the input's gradient is added to what was there
            CHECK(directional_error(entries(X), entries(dX), loss) < 1e-7);
            CHECK(gradient_error(span_of(weight), span_of(std::as_const(d_weight)), loss) < 1e-6);
            if (rows < 10) CHECK(gradient_error(entries(X), entries(dX), loss) < 1e-8);
        }
}

TEST_CASE("the gradient of a norm's weights does not depend on the number of threads") {
    const auto X = random_matrix<float>(5001, 64, 1), dY = random_matrix<float>(5001, 64, 2);
    const vector<float> weight = random_matrix<float>(64, 1, 3);
    const auto on_threads = [&](int threads) {
        const auto b = subbit::testing::make_cpu(subbit::testing::runnable_isas().front(), threads);
        matrix<float> Y(X.rows(), X.cols()), dX = matrix<float>::Zero(X.rows(), X.cols());
        vector<float> inverse, d_weight(64);
        rms_norm(b, const_view(X), span_of(weight), {1e-6, 1}, view(Y), inverse);
        rms_norm_backward(b, const_view(X), span_of(weight), {1e-6, 1}, inverse, const_view(dY), view(dX),
                          span_of(d_weight));
        return std::pair{dX, d_weight};
    };
    const auto one = on_threads(1), three = on_threads(3);
    CHECK(one.first == three.first);
    CHECK(one.second == three.second);
    const auto X64 = X.cast<double>().array();
    const Eigen::ArrayXd inverse = (X64.square().rowwise().mean() + 1e-6).sqrt().inverse();
    const Eigen::VectorXd exact_sum =
        ((dY.cast<double>().array() * X64).colwise() * inverse).colwise().sum().matrix().transpose();
    CHECK((one.second.cast<double>() - exact_sum).norm() < 1e-6 * exact_sum.norm());
}

TEST_CASE("gradients of the gate, also where they replace the incoming one") {
    for (const activation kind : {activation::silu, activation::gelu_tanh}) {
        auto G = random_matrix<double>(5, 7, 1), U = random_matrix<double>(5, 7, 2);
        G *= 2;
        matrix<double> H(5, 7), dU(5, 7), dG = loss_weights(5, 7);
        const auto loss = [&] {
            gated(exact, kind, const_view(G), const_view(U), view(H));
            return weighted_sum(H);
        };
        loss();
        for (index i = 0; i < G.size(); ++i) {
            const double x = G.data()[i], inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
            const double gate = kind == activation::silu ? x / (1 + std::exp(-x)) : x * (1 + std::tanh(inner)) / 2;
            CHECK(H.data()[i] == doctest::Approx(gate * U.data()[i]).epsilon(1e-13));
        }
        gated_backward(exact, kind, const_view(G), const_view(U), const_view(dG), view(dG), view(dU));
        CHECK(gradient_error(entries(G), entries(dG), loss) < 1e-8);
        CHECK(gradient_error(entries(U), entries(dU), loss) < 1e-8);
    }
}

TEST_CASE_TEMPLATE("far from 0 the gate is 0 or the number itself, and its slope 0 or 1", S, float, double) {
    const subbit::cpu b;
    const S largest = std::numeric_limits<S>::max(), root = std::sqrt(largest);
    matrix<S> G(1, 8), U = matrix<S>::Ones(1, 8), H(1, 8), dG(1, 8), dU(1, 8);
    G << -largest, -root, S(-1e5), S(-800), S(800), S(1e5), root, largest;
    for (const activation kind : {activation::silu, activation::gelu_tanh}) {
        gated(b, kind, const_view(G), const_view(U), view(H));
        gated_backward(b, kind, const_view(G), const_view(U), const_view(U), view(dG), view(dU));
        CHECK(H.leftCols(4).isZero(0));
        CHECK(H.rightCols(4) == G.rightCols(4));
        CHECK(dU == H);
        CHECK(dG.leftCols(4).isZero(0));
        CHECK(dG.rightCols(4) == U.rightCols(4));
    }
}

TEST_CASE("the rotary embedding: gradient, and products that see distances alone") {
    const rotary_rule rule{.type = rope_type::llama3, .factor = 8, .trained_positions = 64};
    const rotary_table<double> table(rule, 4, 12);
    auto X = random_matrix<double>(6, 8, 1);  // two windows of three tokens, two heads
    const auto loss = [&] {
        auto Y = X;
        rotate(exact, table, view(Y), 4, 3, 2, 1.0);
        return weighted_sum(Y);
    };
    auto gradient = loss_weights(6, 8);
    rotate(exact, table, view(gradient), 4, 3, 2, -1.0);
    CHECK(gradient_error(entries(X), entries(gradient), loss) < 1e-8);

    const auto at = [&](matrix<double> x, index position) {
        rotate(exact, table, view(x), 4, 1, position, 1.0);
        return x;
    };
    const matrix<double> q = random_matrix<double>(1, 4, 2), k = random_matrix<double>(1, 4, 3);
    CHECK((at(q, 5) * at(k, 2).transpose())(0, 0) ==
          doctest::Approx((at(q, 11) * at(k, 8).transpose())(0, 0)).epsilon(1e-12));
    CHECK(at(q, 0) == q);
}

TEST_CASE("Llama-3 stretches long wavelengths and leaves short ones alone") {
    const auto plain = [](index j) { return std::pow(10000.0, -static_cast<double>(j) / 32); };
    CHECK(rotary_rule{}.frequency(31, 64) == doctest::Approx(plain(31)));
    const rotary_rule rule{.type = rope_type::llama3, .factor = 8, .trained_positions = 512};
    CHECK(rule.frequency(0, 64) == doctest::Approx(plain(0)));
    CHECK(rule.frequency(31, 64) == doctest::Approx(plain(31) / 8));
    for (index j = 0; j < 32; ++j) {
        const double f = rule.frequency(j, 64);
        CHECK((f <= plain(j) * (1 + 1e-12) && f >= plain(j) / 8 * (1 - 1e-12)));
    }
}

TEST_CASE("linear and YaRN scaling of the rotary embedding") {
    const auto plain = [](index j) { return std::pow(10000.0, -static_cast<double>(j) / 32); };
    for (index j = 0; j < 32; ++j)
        CHECK(rotary_rule{.type = rope_type::linear, .factor = 4}.frequency(j, 64) == doctest::Approx(plain(j) / 4));
    const rotary_rule yarn{.type = rope_type::yarn, .factor = 4, .trained_positions = 2048, .magnitude = 1.5};
    // The pair that turns 32 times in 2048 positions is number 8.06, the one that turns once number 20.1.
    for (index j = 0; j <= 8; ++j)
        CHECK(yarn.frequency(j, 64) == doctest::Approx(plain(j)));
    for (index j = 21; j < 32; ++j)
        CHECK(yarn.frequency(j, 64) == doctest::Approx(plain(j) / 4));
    const double share = 5.0 / 13;
    CHECK(yarn.frequency(13, 64) == doctest::Approx(plain(13) * (1 - share + share / 4)));
    const rotary_table<double> table(yarn, 64, 3);
    CHECK(table.cosine(0, 5) == 1.5);
    CHECK(table.sine(2, 0) == doctest::Approx(1.5 * std::sin(2.0)));
}

TEST_CASE("gradients of attention: grouped heads, several windows, more queries than a block of them, all spans") {
    for (const index length : {index{5}, 2 * query_block + 3})
        for (const index span : {0, 1, 2, 4, 37, 128, 131, 1000}) {
            CAPTURE(length);
            CAPTURE(span);
            const attention_shape shape{2, length, length, 4, 2, 3, 0.7, span};
            const index tokens = 2 * length;
            auto Q = random_matrix<double>(tokens, 12, 1), K = random_matrix<double>(tokens, 6, 2),
                 V = random_matrix<double>(tokens, 6, 3);
            matrix<double> O(tokens, 12), dQ(tokens, 12), dK(tokens, 6), dV(tokens, 6);
            const auto loss = [&] {
                attention(exact, shape, const_view(Q), const_view(K), const_view(V), view(O));
                return weighted_sum(O);
            };
            loss();
            const auto dO = loss_weights(tokens, 12);
            attention_backward(exact, shape, {const_view(Q), const_view(K), const_view(V), const_view(O)},
                               const_view(dO), {view(dQ), view(dK), view(dV)});
            if (span != 1) {  // a softmax of one key does not depend on it
                CHECK(directional_error(entries(Q), entries(dQ), loss) < 1e-7);
                CHECK(directional_error(entries(K), entries(dK), loss) < 1e-7);
            } else {
                CHECK(dQ.cwiseAbs().maxCoeff() < 1e-14);
                CHECK(dK.cwiseAbs().maxCoeff() < 1e-14);
            }
            CHECK(directional_error(entries(V), entries(dV), loss) < 1e-7);
            if (length > 5 || span == 1) continue;
            CHECK(gradient_error(entries(Q), entries(dQ), loss) < 1e-7);
            CHECK(gradient_error(entries(K), entries(dK), loss) < 1e-7);
            CHECK(gradient_error(entries(V), entries(dV), loss) < 1e-7);
        }
}

TEST_CASE("attention equals the plain formula: what a query sees of its own window, for all spans") {
    for (const index span : {0, 1, 3, 40, 150, 400})
        for (const index queries : {1, 4, 270}) {
            CAPTURE(span);
            CAPTURE(queries);
            const index keys = queries + 31;
            const attention_shape shape{2, queries, keys, 2, 1, 3, 0.4, span};
            const auto Q = random_matrix<double>(2 * queries, 6, 1), K = random_matrix<double>(2 * keys, 3, 2),
                       V = random_matrix<double>(2 * keys, 3, 3);
            matrix<double> O(2 * queries, 6);
            attention(exact, shape, const_view(Q), const_view(K), const_view(V), view(O));
            double error = 0;
            for (index t = 0; t < 2 * queries; ++t)
                for (index h = 0; h < 2; ++h) {
                    const index position = 31 + t % queries,
                                first = span == 0 ? 0 : std::max<index>(0, position - span + 1),
                                row = t / queries * keys + first, seen = position - first + 1;
                    vector<double> p =
                        (0.4 * K.middleRows(row, seen) * Q.block(t, 3 * h, 1, 3).transpose()).array().exp();
                    p /= p.sum();
                    error = std::max(error, (O.block(t, 3 * h, 1, 3) - p.transpose() * V.middleRows(row, seen)).norm());
                }
            CHECK(error < 1e-12);
        }
}

TEST_CASE("keys that no query of a block sees are not read") {
    const index length = 2 * query_block, span = 5;
    const attention_shape shape{1, length, length, 1, 1, 3, 0.5, span};
    const auto Q = random_matrix<double>(length, 3, 1), dO = random_matrix<double>(length, 3, 4);
    auto K = random_matrix<double>(length, 3, 2), V = random_matrix<double>(length, 3, 3);
    K.topRows(query_block - span + 1).setConstant(NAN);
    V.topRows(query_block - span + 1).setConstant(NAN);
    matrix<double> O(length, 3), dQ(length, 3), dK(length, 3), dV(length, 3);
    attention(exact, shape, const_view(Q), const_view(K), const_view(V), view(O));
    CHECK(O.bottomRows(query_block).allFinite());
    attention_backward(exact, shape, {const_view(Q), const_view(K), const_view(V), const_view(O)}, const_view(dO),
                       {view(dQ), view(dK), view(dV)});
    CHECK(dQ.bottomRows(query_block).allFinite());
    CHECK(dK.bottomRows(query_block).allFinite());
    CHECK(dV.bottomRows(query_block).allFinite());
}

TEST_CASE("attention is causal") {
    const attention_shape shape{1, 4, 4, 2, 1, 3, 0.5};
    auto Q = random_matrix<double>(4, 6, 1), K = random_matrix<double>(4, 3, 2), V = random_matrix<double>(4, 3, 3);
    matrix<double> O(4, 6), changed(4, 6);
    attention(exact, shape, const_view(Q), const_view(K), const_view(V), view(O));
    K.row(3).setConstant(50);
    V.row(3).setConstant(-70);
    attention(exact, shape, const_view(Q), const_view(K), const_view(V), view(changed));
    CHECK(changed.topRows(3) == O.topRows(3));
    CHECK(changed.row(3) != O.row(3));
}

namespace {

/// The gradients of a block against finite differences, one layer of it in the compressed form.
void check_block_gradients(const model_config& config) {
    const index window = 5, tokens = 10;
    block_context<double> context(config, window);
    auto blk = testing::random_block(context, 1);
    subbit::binary_linear<double> binary;
    binary.layer.U = subbit::bit_matrix::pack(random_matrix<double>(16, 6, 1));
    binary.layer.V = subbit::bit_matrix::pack(random_matrix<double>(6, 24, 2));
    binary.layer.s_post = 0.1 * random_matrix<double>(16, 1, 3);
    binary.layer.s_pre = random_matrix<double>(24, 1, 4);
    blk.layers[linear_id::down] = binary;

    auto X = random_matrix<double>(tokens, 16, 7);
    matrix<double> Y(tokens, 16), dX(tokens, 16);
    block_tape<double> tape;
    const auto loss = [&] {
        blk.forward(exact, const_view(X), window, view(Y), tape);
        return weighted_sum(Y);
    };
    loss();
    const auto dY = loss_weights(tokens, 16);
    index observed = 0;
    const subbit::trainable train{.weights = true, .scales = true, .biases = true, .norms = true};
    blk.backward(
        exact, train, tape, window, const_view(dY), view(dX),
        [&](index l, subbit::matrix_view<const double> in, subbit::matrix_view<const double> out) {
            const auto shape = config.block(0).linears[static_cast<std::size_t>(l)].shape;
            CHECK((in.rows == tokens && in.cols == shape.cols && out.rows == tokens && out.cols == shape.rows));
            ++observed;
        });
    CHECK(observed == layer_count);
    CHECK(gradient_error(entries(X), entries(dX), loss) < 1e-6);
    std::vector<subbit::parameter<double>> parameters;
    blk.parameters(exact, "", train, parameters);
    const auto& linears = config.block(0).linears;
    const auto biases = static_cast<std::size_t>(
        std::count_if(linears.begin(), linears.end(), [](const linear_spec& spec) { return spec.bias; }));
    CHECK(parameters.size() == 6 + biases + 2 + config.block(0).norms.size());
    for (const auto& p : parameters) {
        CAPTURE(p.name);
        CHECK(directional_error(p.value, p.gradient, loss) < 1e-6);
    }
}

}  // namespace

TEST_CASE("gradients of a whole block of every family") {
    const nlohmann::json slides = {{"sliding_window", 3}};
    check_block_gradients(testing::small_config());
    check_block_gradients(testing::small_config("mistral", slides));
    check_block_gradients(testing::small_config("qwen2"));
    check_block_gradients(testing::small_config("qwen3"));
    check_block_gradients(testing::small_config("gemma3_text", slides));
}

TEST_CASE("packed layers as one job, their signs side by side, and rounded on request") {
    const auto config = testing::small_config();
    const auto packed_block = [&](block_context<float>& context) {
        block<float> blk = testing::random_block(context, 3);
        for (std::size_t l = 0; l < layer_count; ++l) {
            const auto shape = config.block(0).linears[l].shape;
            subbit::binary_linear<float> binary;
            binary.layer.U = subbit::bit_matrix::pack(random_matrix<float>(shape.rows, 5 + static_cast<index>(l), l));
            binary.layer.V = subbit::bit_matrix::pack(random_matrix<float>(5 + static_cast<index>(l), shape.cols, l));
            binary.layer.s_post = 0.05F * random_matrix<float>(shape.rows, 1, l);
            binary.layer.s_pre = random_matrix<float>(shape.cols, 1, l);
            blk.layers[l] = binary;
        }
        return blk;
    };
    block_context<float> context(config, 12), rounding(config, 12, {subbit::packed_precision::int8});
    auto blk = packed_block(context);
    const auto rounded = packed_block(rounding);
    const subbit::cpu backend;
    const auto X = random_matrix<float>(12, 16, 1);
    matrix<float> with_tape(12, 16), inferred(12, 16), gathered(12, 16), approximate(12, 16);
    block_tape<float> tape;
    blk.forward(backend, const_view(X), 6, view(with_tape), tape);
    blk.infer(backend, const_view(X), 6, view(inferred), tape);
    CHECK((with_tape - inferred).cwiseAbs().maxCoeff() < 1e-5);
    subbit::streaming_arena arena;
    blk.visit_signs([&](const auto&, auto& layer, auto factor) { (layer.*factor).move_to(arena); });
    blk.infer(backend, const_view(X), 6, view(gathered), tape);
    CHECK(gathered == inferred);
    rounded.infer(backend, const_view(X), 6, view(approximate), tape);
    CHECK((approximate - inferred).norm() < 0.02F * (inferred - X).norm());
}

TEST_CASE("windows do not see each other, and a cache continues where it stood") {
    const auto config = testing::small_config();
    block_context<double> context(config, 12);
    const auto blk = testing::random_block(context, 2);
    const auto X = random_matrix<double>(12, 16, 1);
    matrix<double> both(12, 16), one(6, 16), whole(12, 16), steps(12, 16);
    block_tape<double> tape;
    blk.forward(exact, const_view(X), 6, view(both), tape);
    blk.forward(exact, const_view(X).middle_rows(6, 6), 6, view(one), tape);
    CHECK((both.bottomRows(6) - one).cwiseAbs().maxCoeff() < 1e-12);

    blk.forward(exact, const_view(X), 12, view(whole), tape);
    key_value_cache<double> cache(12, config.num_key_value_heads, config.head_dim);
    for (const auto& [from, count] : {std::pair<index, index>{0, 5}, {5, 1}, {6, 4}, {10, 2}})
        blk.infer_cached(exact, const_view(X).middle_rows(from, count), cache, view(steps).middle_rows(from, count),
                         tape);
    CHECK((steps - whole).cwiseAbs().maxCoeff() < 1e-12);
    CHECK(cache.length() == 12);
    subbit::testing::check_throws<subbit::shape_error>(
        [&] { blk.infer_cached(exact, const_view(X).middle_rows(0, 1), cache, view(steps).middle_rows(0, 1), tape); },
        {"cache of 12 tokens", "13"});
}

}  // namespace llama
