// Works and fails, in silence.
#include <subbit/io/packed_layer.hpp>
#include <subbit/io/safetensors.hpp>
#include <subbit/subbit.hpp>

double error_of(subbit::index rank);

int main() {
    const subbit::cpu backend;
    subbit::matrix<float> W(40, 24);
    subbit::fill_normal(backend, subbit::random_stream(3), W);
    const double error = subbit::lb_admm(backend, W, {.rank = 8, .iterations = 20}).error;
    int refused = 0;
    try {
        error_of(0);
    } catch (const subbit::value_error&) {
        ++refused;
    }
    try {
        subbit::safetensors_reader("no such file");
    } catch (const subbit::io_error&) {
        ++refused;
    }
    return error == error_of(8) && refused == 2 ? 0 : 1;
}
