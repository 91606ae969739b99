// The processor as a job calibrates, compresses and samples on it.
#pragma once

#include "compress/recipe.hpp"

#include <subbit/backend/cpu.hpp>

namespace llama {

inline subbit::cpu training_cpu(const compress_options& options, int threads) {
    return subbit::cpu(
        {.threads = threads, .products = bf16_products(options) ? subbit::precision::bf16 : subbit::precision::f32});
}

}  // namespace llama
