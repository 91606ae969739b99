// A type that is no backend: the compiler names the tag that it lacks.
#include <subbit/backend/reference.hpp>
#include <subbit/factor/lb_admm.hpp>

struct mine {
#ifdef SUBBIT_VALID
    using tag = subbit::reference_tag;
#endif
    template <class S>
    using matrix = subbit::matrix<S>;
    template <class S>
    using vector = subbit::vector<S>;
    template <class F>
    void parallel_for(subbit::index n, subbit::index, F&& f) const {
        f(subbit::index{0}, n);
    }
};

double factorize(const subbit::matrix<float>& W) {
    return subbit::lb_admm(mine{}, W, {.rank = 1}).error;
}
