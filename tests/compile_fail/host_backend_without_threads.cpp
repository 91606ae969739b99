// A backend that cannot say how many threads it has cannot run a model written in plain loops.
#include <subbit/backend/reference.hpp>

struct mine : subbit::reference<float> {
#ifndef SUBBIT_VALID
    void threads() const {}
#endif
};

void run() {
    subbit::vectorized(mine{}, [] {});
}
