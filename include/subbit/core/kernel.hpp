// Functions that run on the host and on a GPU.
#pragma once

/// Stands before the return type of such a function; empty unless a CUDA compiler compiles the file.
#if defined(__CUDACC__)
#define SUBBIT_KERNEL __host__ __device__
#else
#define SUBBIT_KERNEL
#endif
