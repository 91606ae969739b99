// Functions that a GPU runs too.
#pragma once

/// Before the return type of a function that runs on the host and on a GPU; nothing where no CUDA compiler is at work.
#if defined(__CUDACC__)
#define SUBBIT_KERNEL __host__ __device__
#else
#define SUBBIT_KERNEL
#endif
