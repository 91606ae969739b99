// What a caller chooses for the products of binary layers.
#pragma once

namespace subbit {

/// How the sums of a product with packed signs are computed.
enum class packed_precision {
    exact,      ///< in the scalar type, in a fixed order
    reordered,  ///< float only, on processors that are faster with it: as accurate, see apply_options
    int8,       ///< float only, on processors that are faster with it: see apply_options
    bf16        ///< float only, on GPUs that are faster with it: see apply_options
};

/// The precision of a layer's products, chosen by the caller for one call.
///
/// With packed_precision::reordered, a sum may run in another way where many vectors are multiplied at once than where
/// few are: 16 and more with AVX2 and in portable code, in float sums of another order, and on a processor with matrix
/// units for bytes (AMX), which see each vector as integers of 24 bits and sum exactly. The error of an output of B x
/// is there at most n q / 2^24, where q is the largest |x_j| (a q under 1e-30 counts as zero), plus the rounding of the
/// output; for normally distributed x it is about 2e-7 of the result's norm, a third of a float32 sum's. If an entry of
/// x is not finite, no output is.
///
/// With packed_precision::int8, sums of four adjacent inputs are rounded to 8 bits, with one scale for each run of 128
/// inputs. The error of an output of B x is then at most the sum over these runs of 32 q / 254, where q is the run's
/// largest |x_4k| + .. + |x_4k+3| (a q under 1e-30 counts as zero), plus the rounding of a float32 sum. For normally
/// distributed x it is about 7e-3 of the result's norm. Double, and backends without such a kernel, are exact.
///
/// With packed_precision::bf16 and more than 4 vectors at once, inputs after s_pre and the numbers between V and U
/// after s_mid are rounded to bfloat16, and sums are float32: each of the two roundings adds about 2^-9 to the relative
/// error of the result. Infinities propagate as in a float sum. Only GPUs with products by warpgroups turned on have it
/// (docs/gpu.md); elsewhere, and with fewer vectors, results are exact.
struct apply_options {
    packed_precision precision = packed_precision::exact;
};

}  // namespace subbit
