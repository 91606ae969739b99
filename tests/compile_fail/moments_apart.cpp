// Moments whose entries do not lie side by side.
#include <subbit/factor/target.hpp>

subbit::diagonal<double> moments(const subbit::matrix<double>& A) {
#ifdef SUBBIT_VALID
    return A.row(0);
#else
    return A.col(0);
#endif
}
