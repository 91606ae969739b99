#include "program/ranks.hpp"

#include <subbit/distribute/mpi.hpp>

#include <cstdlib>

namespace llama {

std::unique_ptr<subbit::communicator> start_ranks() {
    if (launched_processes() == 1) return std::make_unique<subbit::single>();
    return std::make_unique<subbit::mpi>();
}

void end_ranks(const subbit::communicator& ranks, int status) {
    if (const auto* all = dynamic_cast<const subbit::mpi*>(&ranks)) all->end_all(status);
    std::exit(status);
}

}  // namespace llama
