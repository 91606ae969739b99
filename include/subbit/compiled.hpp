// LB-ADMM on the library's own backends, which subbit::compiled holds like their operations
// (backend/cpu/instances.hpp).
#pragma once

#include <subbit/backend/cpu.hpp>
#include <subbit/backend/reference.hpp>
#include <subbit/factor/lb_admm.hpp>

/// KEYWORD is `extern` or nothing, S the scalar.
#define SUBBIT_SOLVER_INSTANCES(KEYWORD, S)                                                                     \
    KEYWORD template factorization<S> run_lb_admm(const cpu&, matrix_view<const S>, const lb_admm_options<S>&); \
    KEYWORD template factorization<S> run_lb_admm(const reference<S>&, matrix_view<const S>, const lb_admm_options<S>&);

namespace subbit {

SUBBIT_SOLVER_INSTANCES(extern, float)
SUBBIT_SOLVER_INSTANCES(extern, double)

}  // namespace subbit
