// Packed products, whole layers and recorded launches on a GPU: the checks of tests/gpu; says skipped where there is
// none.
#include "gpu.cuh"
#include "gpu/layer_checks.hpp"
#include "gpu/packed_checks.hpp"

namespace subbit::testing {

TEST_CASE("packed products are exact on the GPU") {
    if (no_gpu()) return;
    const cuda b;
    check_bit_transposes(b);
    check_exact_products<float>(b);
    check_exact_products<double>(b);
    check_products_in_place<float>(b);
    check_products_in_place<double>(b);
    check_transposed_products(b);
    check_alignments<float>(b);
    check_alignments<double>(b);
    check_warpgroup_shapes(b);
    check_special_numbers(b);
}

TEST_CASE("packed layers on the GPU, recorded and not") {
    if (no_gpu()) return;
    const cuda b;
    check_layer_jobs<float>(b);
    check_layer_jobs<f16>(b);
    check_layer_jobs<bf16>(b);
    check_rounded_layers<float>(b);
    check_rounded_layers<bf16>(b);
    check_token_independence(b);
    check_residual_layers(b);
    check_recorded_layers(b);
    check_byte_rows(b);
}

}  // namespace subbit::testing
