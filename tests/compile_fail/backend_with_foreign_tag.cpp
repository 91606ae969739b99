// A tag that inherits from nothing: there would be no operation to fall back to.
#include <subbit/backend/reference.hpp>
#include <subbit/factor/lb_admm.hpp>

#ifdef SUBBIT_VALID
struct my_tag : subbit::reference_tag {};
#else
struct my_tag {};
#endif

struct mine {
    using tag = my_tag;
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
