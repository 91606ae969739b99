// Generation on the GPU backend, emulated, against the host's, token by token.
#include "generate/gpu_running_model.hpp"
#include "generate/running_model.hpp"
#include "support/temporary_directory.hpp"
#include "tiny_model.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/emulated.hpp>
#include <subbit/factor/lb_admm.hpp>

#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace llama::testing {

namespace {

/// Heads of 16 numbers that share a key head.
tiny_shape grouped_shape(bool tied) {
    tiny_shape shape;
    shape.hidden = 48;
    shape.heads = 3;
    shape.kv_heads = 1;
    shape.intermediate = 70;
    shape.tied = tied;
    return shape;
}

/// A tiny model of each family, with what tells it from the others.
std::vector<tiny_shape> family_shapes() {
    const auto shape_of = [](const std::string& family, nlohmann::json changes) {
        tiny_shape shape = grouped_shape(true);
        shape.model_type = family;
        shape.changes = std::move(changes);
        return shape;
    };
    return {shape_of("mistral", {{"sliding_window", 7}, {"head_dim", 10}}), shape_of("qwen2", nlohmann::json::object()),
            shape_of("qwen3", {{"head_dim", 24}}),
            shape_of("gemma3_text", {{"sliding_window", 9},
                                     {"layer_types", {"sliding_attention", "full_attention"}},
                                     {"head_dim", 20},
                                     {"query_pre_attn_scalar", 24}})};
}

/// The tiny model with low-rank layers, of which some are residual, and one dense if asked for.
void write_mixed_model(const std::filesystem::path& directory, const tiny_shape& shape, bool one_dense) {
    write_tiny_model(directory, shape);
    const subbit::cpu backend;
    subbit::safetensors_writer file;
    make_tiny_tensors(shape, [&](const std::string& name, std::vector<index> sizes, const std::vector<float>& values) {
        const std::string layer = name.substr(0, name.rfind(".weight"));
        if (name.ends_with("norm.weight")) {
            std::vector<float> uneven = values;
            for (std::size_t i = 0; i < uneven.size(); ++i)
                uneven[i] += 0.1F * static_cast<float>(i % 7);
            return file.add(name, std::move(sizes), std::span<const float>(uneven), subbit::dtype::f32);
        }
        const bool linear = layer.ends_with("_proj"),
                   plain = one_dense && name.find("layers.1.self_attn.k") != std::string::npos;
        if (!linear || plain)
            return file.add(name, std::move(sizes), std::span<const float>(values), subbit::dtype::f32);
        const subbit::matrix_view<const float> W(values.data(), sizes[0], sizes[1]);
        if (name.find("layers.0.mlp.up") != std::string::npos || name.find("layers.1.mlp.down") != std::string::npos) {
            subbit::residual_binary_linear<float> sum;
            for (const float magnitude : {0.1F, 0.05F})
                sum.paths.push_back({subbit::bit_matrix::pack(W), subbit::vector<float>::Constant(W.rows, magnitude),
                                     subbit::vector<float>::Ones(W.cols)});
            add_packed_layer(file, layer, sum);
        } else {
            const auto fit =
                subbit::lb_admm(backend, W, {.rank = std::min({index{14}, W.rows, W.cols}), .iterations = 5});
            add_packed_layer(file, layer, fit.pack());
        }
    });
    file.write(directory / "model.safetensors");
}

/// The largest difference of two models' scores, and the largest score.
struct comparison {
    double error = 0, largest = 0;
};
comparison compared(std::span<const float> got, std::span<const float> expected) {
    comparison c;
    for (std::size_t i = 0; i < got.size(); ++i) {
        c.error = std::max(c.error, static_cast<double>(std::abs(got[i] - expected[i])));
        c.largest = std::max(c.largest, static_cast<double>(std::abs(expected[i])));
    }
    return c;
}

}  // namespace

TEST_CASE("the GPU's running model gives the host's scores, prompt and tokens") {
    const subbit::cpu cpu_backend;
    for (const auto format : {row_format::f32, row_format::bf16, row_format::int8}) {
        const subbit::emulated gpu_backend(subbit::emulated_device({.warpgroups = format == row_format::bf16}));
        const subbit::testing::temporary_directory directory;
        write_mixed_model(directory.path(), grouped_shape(format == row_format::bf16), true);
        const model_directory model(directory.path());
        running_model host(cpu_backend, model, 40, {.head = format, .packed = {}});
        gpu_running_model<subbit::emulated_device> device(gpu_backend, model, 40, format);
        std::vector<std::int32_t> tokens = {256, 65, 10, 77, 200};
        for (int step = 0; step < 4; ++step) {
            const auto expected = host.next_scores(tokens), got = device.next_scores(tokens);
            REQUIRE(got.size() == expected.size());
            const comparison c = compared(got, expected);
            CAPTURE(step);
            CHECK(std::isfinite(c.error));
            CHECK(c.error < (format == row_format::int8 ? 1e-4 : 2e-5) * c.largest);  // the host's rounds x for int8
            tokens = {static_cast<std::int32_t>(std::max_element(expected.begin(), expected.end()) - expected.begin())};
        }
        CHECK_THROWS_AS(device.next_scores(std::vector<std::int32_t>{257}), subbit::value_error);
        CHECK_THROWS_AS(device.next_scores(std::vector<std::int32_t>(33, 1)), subbit::shape_error);
    }
}

TEST_CASE("the GPU's running model gives the host's scores for every family, beyond the sliding window and its ring") {
    const subbit::cpu cpu_backend;
    for (const tiny_shape& shape : family_shapes())
        for (const bool warpgroups : {false, true}) {
            CAPTURE(shape.model_type);
            CAPTURE(warpgroups);
            const subbit::emulated gpu_backend(subbit::emulated_device({.warpgroups = warpgroups}));
            const subbit::testing::temporary_directory directory;
            write_mixed_model(directory.path(), shape, true);
            const model_directory model(directory.path());
            running_model host(cpu_backend, model, 300, {.head = row_format::f32, .packed = {}});
            gpu_running_model<subbit::emulated_device> device(gpu_backend, model, 300, row_format::f32);
            std::int32_t next = 5;
            for (const index piece : {5, 1, 1, 3, 251, 1, 1, 30, 1, 1}) {
                std::vector<std::int32_t> tokens(static_cast<std::size_t>(piece));
                for (auto& token : tokens)
                    token = next = (next * 7 + 3) % 256;
                const auto expected = host.next_scores(tokens), got = device.next_scores(tokens);
                const comparison c = compared(got, expected);
                CAPTURE(piece);
                CHECK(std::isfinite(c.error));
                CHECK(c.error < 2e-5 * c.largest);
            }
        }
}

TEST_CASE("a token whose products make their own inputs has the scores of one whose inputs kernels make") {
    tiny_shape odd;  // heads of 30 numbers, no fours in a row
    odd.hidden = 90;
    odd.heads = 3;
    odd.kv_heads = 3;
    odd.intermediate = 131;
    for (const tiny_shape& shape : {grouped_shape(true), odd})
        for (const bool falling : {false, true}) {
            const subbit::testing::temporary_directory directory;
            write_mixed_model(directory.path(), shape, false);
            const model_directory model(directory.path());
            const auto on = [&](bool warpgroups) {
                const subbit::emulated b(subbit::emulated_device({.falling = falling, .warpgroups = warpgroups}));
                return gpu_running_model<subbit::emulated_device>(b, model, 60, row_format::f32);
            };
            auto made = on(true), own = on(false);
            std::vector<std::int32_t> tokens = {256, 65, 10, 77, 200};
            for (int step = 0; step < 12; ++step) {
                const auto expected = made.next_scores(tokens), got = own.next_scores(tokens);
                const comparison c = compared(got, expected);
                CAPTURE(step);
                CHECK(std::isfinite(c.error));
                CHECK(c.error < 1e-5 * c.largest);
                tokens = {(tokens.back() * 7 + 3) % 256};
            }
        }
}

}  // namespace llama::testing
