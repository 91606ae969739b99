// What training asks of a backend, on the emulated GPU.
#include "training_checks.hpp"

#include <subbit/backend/emulated.hpp>

#include <doctest/doctest.h>

namespace subbit::testing {
namespace {

/// The emulation with its threads in either order.
template <class F>
void in_both_orders(F&& check) {
    for (const bool falling : {false, true})
        check(emulated(emulated_device({.falling = falling})));
}

}  // namespace

TEST_CASE("the steps around a layer's products on a GPU") {
    in_both_orders([](const emulated& b) { check_row_steps(b); });
}

TEST_CASE("owners change their shape, and signs stay on the device") {
    in_both_orders([](const emulated& b) { check_owners(b); });
}

TEST_CASE("straight-through estimators on a GPU") {
    in_both_orders([](const emulated& b) { check_estimators(b); });
}

TEST_CASE("losses on a GPU") {
    in_both_orders([](const emulated& b) { check_losses(b); });
}

TEST_CASE("a dense layer trains on a GPU as on the host") {
    in_both_orders([](const emulated& b) { check_dense_layer(b); });
}

TEST_CASE("a low-rank binary layer trains on a GPU as on the host") {
    in_both_orders([](const emulated& b) { check_low_rank_layer(b); });
}

TEST_CASE("a residual layer trains on a GPU as on the host") {
    in_both_orders([](const emulated& b) { check_residual_layer(b); });
}

TEST_CASE("moments come back from a GPU, and a tuner goes on with them") {
    in_both_orders([](const emulated& b) { check_moments(b); });
}

}  // namespace subbit::testing
