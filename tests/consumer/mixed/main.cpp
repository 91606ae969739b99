// Ends with 0 where matrices that the other file made can be used and freed here, and the other way round.
#include "work.hpp"

#include <cmath>

int main() {
    double sum = 0;
    for (int round = 0; round < 20; ++round) {
        subbit::matrix<double> ours = subbit::matrix<double>::Random(29, 57);
        subbit::matrix<double> theirs = work(ours);
        sum += theirs.norm() + static_cast<double>(ours.size());
        theirs.resize(40, 40);
        theirs.setRandom();
        ours = theirs.topRows(31) * theirs.leftCols(31);
        sum += ours.norm();
    }
    return std::isfinite(sum) && sum > 0 ? 0 : 1;
}
