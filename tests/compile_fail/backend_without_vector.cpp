// A backend that does not say who owns its vectors.
#include <subbit/backend/reference.hpp>

struct mine {
    using tag = subbit::reference_tag;
    template <class S>
    using matrix = subbit::matrix<S>;
#ifdef SUBBIT_VALID
    template <class S>
    using vector = subbit::vector<S>;
#endif
};

auto zeros() {
    return subbit::allocate<float>(mine{}, 2, 3);
}
