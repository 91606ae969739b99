// The kernels of a token that make their own inputs, on a GPU; says skipped where there is none.
#include "gpu.cuh"
#include "llama_compress/decode_checks.hpp"

namespace llama::testing {

TEST_CASE("products and attention of a token on the GPU make what kernels before them would make") {
    if (subbit::testing::no_gpu()) return;
    const subbit::cuda b;
    check_layer_inputs(b);
    check_attention_input(b);
    check_fresh_attention(b);
}

}  // namespace llama::testing
