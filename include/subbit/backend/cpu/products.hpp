// The cpu's products: with subbit::compiled their declarations alone, since the library holds the kernels, which are
// the largest headers.
#pragma once

#include <subbit/backend/cpu/kernels/products.hpp>
#if !defined(SUBBIT_COMPILED)
#include <subbit/backend/cpu/kernels/product_kernels.hpp>
#endif
