// What a token's kernels make themselves, emulated.
#include "llama_compress/decode_checks.hpp"

#include <subbit/backend/emulated.hpp>

#include <doctest/doctest.h>

namespace llama::testing {

TEST_CASE("products and attention of a token make what kernels before them would make") {
    for (const bool falling : {false, true}) {
        const subbit::emulated b(subbit::emulated_device({.falling = falling}));
        check_layer_inputs(b);
        check_attention_input(b);
        check_fresh_attention(b);
    }
}

}  // namespace llama::testing
