// What training asks of a backend, on the emulated GPU.
#include "training_checks.hpp"

#include <subbit/backend/emulated.hpp>

#include <doctest/doctest.h>

namespace subbit::testing {

TEST_CASE("the steps around a layer's products on a GPU") {
    check_row_steps(emulated());
}

TEST_CASE("owners change their shape, and signs stay on the device") {
    check_owners(emulated());
}

TEST_CASE("straight-through estimators on a GPU") {
    check_estimators(emulated());
}

TEST_CASE("losses on a GPU") {
    check_losses(emulated());
}

TEST_CASE("a dense layer trains on a GPU as on the host") {
    check_dense_layer(emulated());
}

TEST_CASE("a low-rank binary layer trains on a GPU as on the host") {
    check_low_rank_layer(emulated());
}

TEST_CASE("a residual layer trains on a GPU as on the host") {
    check_residual_layer(emulated());
}

TEST_CASE("moments come back from a GPU, and a tuner goes on with them") {
    check_moments(emulated());
}

}  // namespace subbit::testing
