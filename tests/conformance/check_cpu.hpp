// The cpu backend with one instruction set, on two threads.
#pragma once

#include "conformance/backend_conformance.hpp"

#include <subbit/backend/cpu.hpp>

namespace subbit::testing {

/// Runs the suite where this machine has the instruction set, and says so where it has not.
template <class S>
void check_cpu(isa instructions) {
    if (has_isa(instructions))
        check_backend<S>(cpu({.threads = 2, .instructions = instructions}));
    else
        MESSAGE("not on this machine: " << isa_name(instructions));
}

}  // namespace subbit::testing
