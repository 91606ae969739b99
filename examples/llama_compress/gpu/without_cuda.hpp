// What a program that was built without CUDA says where it is asked for a GPU.
#pragma once

#include <subbit/core/error.hpp>

namespace llama {

[[noreturn]] inline void fail_without_cuda() {
    throw subbit::device_error(
        "--backend cuda: this program was built without CUDA; build it where nvcc is found (cmake -D "
        "SUBBIT_WITH_CUDA=ON), or run it with --backend cpu");
}

}  // namespace llama
