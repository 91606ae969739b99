// Whole binary layers on the GPU backend, and products of 8-bit rows, emulated.
#include "emulated_gpus.hpp"
#include "layer_checks.hpp"
#include "packed_checks.hpp"

namespace subbit::testing {

TEST_CASE_TEMPLATE("layers in one job, in all types of activations", T, float, f16, bf16) {
    for (const auto& options : emulated_gpus)
        check_layer_jobs<T>(emulated(emulated_device(options)));
}

TEST_CASE_TEMPLATE("layers of many tokens rounded to bfloat16", T, float, f16, bf16) {
    for (const auto& options : emulated_gpus)
        check_rounded_layers<T>(emulated(emulated_device(options)));
}

TEST_CASE("blocks that have several strips, and take them in several rounds") {
    for (const bool falling : {false, true}) {
        const emulated b(emulated_device({.falling = falling, .multiprocessors = 2}));
        check_layer_jobs<float>(b);
        check_empty_ranks(b);
        check_residual_layers(b);
        check_exact_product<float>(b, 300, 7000, 1);
        check_exact_product<float>(b, 300, 7000, 3);
    }
}

TEST_CASE("a token's outputs do not depend on how many tokens there are") {
    for (const auto& options : emulated_gpus)
        check_token_independence(emulated(emulated_device(options)));
}

TEST_CASE("a residual layer sums its paths and its bias") {
    for (const auto& options : emulated_gpus)
        check_residual_layers(emulated(emulated_device(options)));
}

TEST_CASE("recorded launches read what is in memory when they are replayed") {
    for (const auto& options : emulated_gpus)
        check_recorded_layers(emulated(emulated_device(options)));
}

TEST_CASE("what is recorded may ask for memory that was given back before, and has it for itself") {
    const emulated b;
    CHECK_THROWS_AS(b.device().record([&] { b.scratch<float>(1); }), recording_error);
    const void* const first = b.scratch<float>(100).data();
    const void *second = nullptr, *outside = nullptr;
    {
        const auto graph = b.device().record([&] {
            b.scratch<float>(100);
            second = b.scratch<float>(99).data();
        });
        outside = b.scratch<float>(100).data();
    }
    CHECK(second == first);
    CHECK(outside != first);
    CHECK(b.scratch<float>(1).data() != nullptr);
    // A recording that keeps what it took, or gives back what it did not take, cannot be replayed.
    gpu::buffer<emulated_device, float> kept;
    CHECK_THROWS_AS(b.device().record([&] { kept = b.scratch<float>(100); }), recording_error);
    CHECK_THROWS_AS(b.device().record([&] { kept = {}; }), recording_error);
    CHECK_THROWS_AS(b.device().record([&] { b.device().copy_to_host(&outside, first, 1); }), error);
    CHECK_NOTHROW(b.scratch<float>(1));
}

TEST_CASE("products of bytes are exact, aligned or not") {
    for (const auto& options : emulated_gpus)
        check_byte_rows(emulated(emulated_device(options)));
}

}  // namespace subbit::testing
