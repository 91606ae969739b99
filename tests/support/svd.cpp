#include "svd.hpp"

#include <Eigen/SVD>

namespace subbit::testing {

svd::svd(const matrix<double>& X) {
    const Eigen::JacobiSVD<matrix<double>> solver(X, Eigen::ComputeThinU | Eigen::ComputeThinV);
    U = solver.matrixU();
    V = solver.matrixV();
    values = solver.singularValues();
}

}  // namespace subbit::testing
