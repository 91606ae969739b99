// subbit: low-rank binary factorization of weight matrices,  W ~ diag(s_post) U diag(s_mid) V diag(s_pre)  with U and V
// of signs, below and around one bit per weight. This header is the whole library except the room io, and its table of
// contents; every line can be included alone.
#pragma once

#include <subbit/version.hpp>

// core: what all rooms use
#include <subbit/core/error.hpp>     // typed errors
#include <subbit/core/half.hpp>      // binary16 and bfloat16
#include <subbit/core/math.hpp>      // exp that vectorizes
#include <subbit/core/matrix.hpp>    // matrix, vector, matrix_view
#include <subbit/core/memory.hpp>    // an allocator and an arena for streamed data
#include <subbit/core/progress.hpp>  // how long work reports itself and is stopped
#include <subbit/core/random.hpp>    // counter-based random numbers
#include <subbit/core/types.hpp>     // bits_per_weight, percentile, sign

// bits: packed signs
#include <subbit/bits/bit_matrix.hpp>              // the owner; pack, unpack, transpose
#include <subbit/bits/bit_view.hpp>                // the view, and the layout in memory and on disk
#include <subbit/bits/layer_view.hpp>              // a layer's parts as kernels take them
#include <subbit/bits/low_rank_binary_linear.hpp>  // the layer that replaces a dense one
#include <subbit/bits/residual_binary_linear.hpp>  // another: a sum of sign matrices with vector scales
#include <subbit/bits/round_scales.hpp>            // the scales of files

// backend: where the work is done
#include <subbit/backend/concept.hpp>     // what a backend is
#include <subbit/backend/cpu.hpp>         // all threads, the widest SIMD of this machine
#include <subbit/backend/ops/bytes.hpp>   // what a backend does: products of 8-bit rows
#include <subbit/backend/ops/dense.hpp>   // dense products, entries, rows, sums
#include <subbit/backend/ops/layers.hpp>  // binary layers
#include <subbit/backend/ops/memory.hpp>  // owners in its memory, and the way to and from the host
#include <subbit/backend/ops/paths.hpp>   // residual binarization
#include <subbit/backend/ops/rows.hpp>    // the steps around a layer's products
#include <subbit/backend/ops/solver.hpp>  // the steps of the solvers
#include <subbit/backend/ops/train.hpp>   // optimizers and losses
#include <subbit/backend/reference.hpp>   // plain loops, with which the others are compared

// factor: a weight matrix in, signs and scales out
#include <subbit/factor/bit_descent.hpp>    // exact coordinate descent over the bits
#include <subbit/factor/dbf_admm.hpp>       // double binary factorization, three scales
#include <subbit/factor/dual_svid.hpp>      // truncated SVD, signs and rank-one magnitudes
#include <subbit/factor/lb_admm.hpp>        // NanoQuant's solver, and an improved one of its kind
#include <subbit/factor/rank_budget.hpp>    // the rank that a budget of bits buys
#include <subbit/factor/residual_svid.hpp>  // RaBiT's start: a sum of sign matrices
#include <subbit/factor/scale_fit.hpp>      // least squares of the scales, bits fixed

// calib: what the solvers weight their errors with
#include <subbit/calib/moments.hpp>  // clipped second moments of activations and gradients

// train: gradients and steps
#include <subbit/train/adamw.hpp>
#include <subbit/train/losses.hpp>
#include <subbit/train/muon.hpp>
#include <subbit/train/parameter.hpp>  // what trains
#include <subbit/train/schedules.hpp>

// recon: tuning after factorization, over any model made of blocks
#include <subbit/recon/block_reconstruction.hpp>  // every layer of a block compressed and tuned
#include <subbit/recon/lb_compressor.hpp>         // by LB-ADMM, with statistics and ranks
#include <subbit/recon/model_reconstruction.hpp>  // a whole model, against the original
#include <subbit/recon/path_diagnostics.hpp>      // how the paths of residual layers work together

#if defined(SUBBIT_COMPILED)
#include <subbit/compiled.hpp>  // what the library of that name holds
#endif

// io needs nlohmann-json, so it is asked for by name: <subbit/io/safetensors.hpp>, <subbit/io/packed_layer.hpp>
