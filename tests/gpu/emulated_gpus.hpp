// The GPUs that kernels are tested on where there is none: threads in both orders, newer and older kernels.
#pragma once

#include <subbit/backend/emulated.hpp>

#include <array>

namespace subbit::testing {

inline constexpr std::array<emulated_options, 4> emulated_gpus = [] {
    std::array<emulated_options, 4> all;
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].falling = i % 2 == 1;
        all[i].warpgroups = i < 2;
    }
    return all;
}();

}  // namespace subbit::testing
