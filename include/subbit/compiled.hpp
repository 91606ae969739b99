// LB-ADMM on the library's own backends, which subbit::compiled holds like their operations
// (backend/cpu/instances.hpp).
#pragma once

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/factor/lb_admm.hpp>

// A solver's result is memory that the library allocates and its caller frees, in the way that Eigen chooses by the
// flags of each. So the library's solver is used where both have the usual choice, malloc, and else compiled with the
// caller.
#if EIGEN_DEFAULT_ALIGN_BYTES == 16 && EIGEN_MALLOC_ALREADY_ALIGNED

/// KEYWORD is `extern` or nothing, S the scalar.
#define SUBBIT_SOLVER_INSTANCES(KEYWORD, S)                                                                     \
    KEYWORD template factorization<S> run_lb_admm(const cpu&, matrix_view<const S>, const lb_admm_options<S>&); \
    KEYWORD template factorization<S> run_lb_admm(const reference<S>&, matrix_view<const S>, const lb_admm_options<S>&);

namespace subbit {

SUBBIT_SOLVER_INSTANCES(extern, float)
SUBBIT_SOLVER_INSTANCES(extern, double)

}  // namespace subbit

#else
#define SUBBIT_SOLVER_INSTANCES(KEYWORD, S)
#endif
