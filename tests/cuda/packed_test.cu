// Packed products, whole layers and recorded launches on a GPU: the checks of tests/gpu; says skipped where there is
// none.
#include "gpu.cuh"
#include "gpu/layer_checks.hpp"
#include "gpu/packed_checks.hpp"

namespace subbit::testing {

namespace {

/// Every kind of kernels that the GPU has.
template <class F>
void for_each_kind(F f) {
    for (const bool warpgroups : {false, true})
        f(cuda(cuda_device({.warpgroups = warpgroups})));
}

}  // namespace

TEST_CASE("packed products are exact on the GPU") {
    if (no_gpu()) return;
    for_each_kind([](const cuda& b) {
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
    });
}

TEST_CASE("packed layers on the GPU, recorded and not") {
    if (no_gpu()) return;
    for_each_kind([](const cuda& b) {
        check_layer_jobs<float>(b);
        check_layer_jobs<f16>(b);
        check_layer_jobs<bf16>(b);
        check_rounded_layers<float>(b);
        check_rounded_layers<bf16>(b);
        check_empty_ranks(b);
        check_token_independence(b);
        check_residual_layers(b);
        check_recorded_layers(b);
        check_byte_rows(b);
    });
}

TEST_CASE("blocks that have several strips, and take them in several rounds, on the GPU") {
    if (no_gpu()) return;
    for_each_kind([](const cuda& b) {
        for (const index tokens : {1, 3}) {
            check_exact_product<float>(b, 9000, 1100, tokens);
            check_exact_product<float>(b, 40000, 7000, tokens);
        }
    });
}

}  // namespace subbit::testing
