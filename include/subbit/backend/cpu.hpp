// The cpu backend: all threads and the widest SIMD of the machine, chosen at run time. Operations without a kernel are
// the reference's loops, divided among the threads.
#pragma once

#include <subbit/backend/cpu/backend.hpp>
#include <subbit/backend/cpu/bytes.hpp>
#include <subbit/backend/cpu/dense.hpp>
#include <subbit/backend/cpu/layers.hpp>
#include <subbit/backend/cpu/paths.hpp>
#include <subbit/backend/cpu/solver.hpp>
#include <subbit/backend/reference.hpp>
#if defined(SUBBIT_COMPILED)
#include <subbit/backend/cpu/instances.hpp>
#endif
