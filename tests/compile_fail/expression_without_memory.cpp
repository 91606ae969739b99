// An expression of Eigen's where a matrix is expected: the compiler says to assign it first.
#include <subbit/backend/ops/memory.hpp>

double first(const subbit::matrix<double>& A) {
#ifdef SUBBIT_VALID
    const subbit::matrix<double> sum = A + A;
#else
    const auto sum = A + A;
#endif
    return subbit::const_view(sum)(0, 0);
}
