// What takes the place of ranks_with_mpi.cpp where MPI was not found.
#include "program/ranks.hpp"

#include <subbit/core/error.hpp>

#include <cstdlib>
#include <string>

namespace llama {

std::unique_ptr<subbit::communicator> start_ranks() {
    if (const int processes = launched_processes(); processes > 1)
        throw subbit::value_error(std::to_string(processes) +
                                  " processes were started, but this program was built without MPI: each would do the "
                                  "whole job. Install an MPI (libopenmpi-dev or libmpich-dev) and build again");
    return std::make_unique<subbit::single>();
}

void end_ranks(const subbit::communicator&, int status) {
    std::exit(status);
}

}  // namespace llama
