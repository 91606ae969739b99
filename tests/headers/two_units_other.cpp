// The second of two files that include the whole library: a function that is not inline would be defined twice.
#include <subbit/io/packed_layer.hpp>
#include <subbit/io/safetensors.hpp>
#include <subbit/subbit.hpp>

double error_of(subbit::index rank);

double error_of(subbit::index rank) {
    const subbit::cpu backend;
    subbit::matrix<float> W(40, 24);
    subbit::fill_normal(backend, subbit::random_stream(3), W);
    return subbit::lb_admm(backend, W, {.rank = rank, .iterations = 20}).error;
}
