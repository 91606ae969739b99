// Whole binary layers on the GPU backend, and products of 8-bit rows, emulated.
#include "layer_checks.hpp"

#include <subbit/backend/emulated.hpp>

namespace subbit::testing {

TEST_CASE_TEMPLATE("layers in one job, in all types of activations", T, float, f16, bf16) {
    check_layer_jobs<T>(emulated());
}

TEST_CASE("a token's outputs do not depend on how many tokens there are") {
    check_token_independence(emulated());
}

TEST_CASE("a residual layer sums its paths and its bias") {
    check_residual_layers(emulated());
}

TEST_CASE("recorded launches read what is in memory when they are replayed") {
    check_recorded_layers(emulated());
}

TEST_CASE("an allocation while launches are recorded is an error") {
    const emulated b;
    CHECK_THROWS_AS(b.device().record([&] { b.scratch<float>(1); }), error);
    CHECK_NOTHROW(b.scratch<float>(1));
}

TEST_CASE("products of bytes are exact, aligned or not") {
    check_byte_rows(emulated());
}

}  // namespace subbit::testing
