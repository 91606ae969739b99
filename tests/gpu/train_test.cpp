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

TEST_CASE("owners keep their memory where it has the size") {
    in_both_orders([](const emulated& b) { check_owners(b); });
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

TEST_CASE("work that repeats is recorded, and begins anew where an owner has grown") {
    in_both_orders([](const emulated& b) { check_repeated_work(b); });
}

TEST_CASE("recorded steps of a tuner are those that are asked for one by one") {
    in_both_orders([](const emulated& b) { check_recorded_steps(b); });
}

TEST_CASE("work whose memory went to others is done as it stands until there is some, or always") {
    const emulated b;
    repeated_work<emulated> work;
    emulated::vector<double> total = allocate<double>(b, 1), taken;
    index calls = 0;
    const auto add_one = [&] {
        ++calls;
        auto one = allocate<double>(b, 5000);
        fill(b, 1, as_column(span_of(one)));
        axpby(b, 1, as_column(span_of(one).first(1)), 1, as_column(span_of(total)));
    };
    work(b, add_one);
    taken = allocate<double>(b, 5000);  // the memory that the work has given back
    for (int k = 0; k < 4; ++k)
        work(b, add_one);
    CHECK(calls == 4);  // as it stands, recorded in vain, as it stands, recorded
    CHECK(down(b, total)(0) == 5);

    calls = 0;
    repeated_work<emulated> hoarder;
    std::vector<emulated::vector<double>> hoard;
    for (int k = 0; k < 9; ++k)
        hoarder(b, [&] {
            ++calls;
            hoard.push_back(allocate<double>(b, 6000));
        });
    CHECK(calls == 9 + 3);
}

TEST_CASE("numbers that the host writes arrive, few and many") {
    in_both_orders([](const emulated& b) { check_written_numbers(b); });
}

}  // namespace subbit::testing
