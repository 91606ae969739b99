// Its matrices are freed by the other file, and it resizes that one's.
#include "work.hpp"

subbit::matrix<double> work(subbit::matrix<double>& from_main) {
    from_main.resize(31, 57);
    from_main.setRandom();
    const subbit::matrix<double> product = from_main * from_main.transpose();
    subbit::low_rank_binary_linear<double> layer{subbit::bit_matrix::pack(product), subbit::bit_matrix::pack(product),
                                                 subbit::vector<double>::Ones(31), subbit::vector<double>::Ones(31)};
#if defined(SUBBIT_COMPILED)
    layer = subbit::lb_admm(subbit::cpu({.threads = 1}), product, {.rank = 7, .iterations = 5}).pack();
#endif
    from_main.resize(3, 5);
    return layer.dense();
}
