#include "program/ranks.hpp"

#include <subbit/core/error.hpp>

#include <fmt/format.h>
#include <algorithm>
#include <cstdlib>
#include <thread>

namespace llama {

namespace {

/// The first of these variables that is a number, or `otherwise`. OpenMPI, MPICH and its relatives, Slurm's PMI.
int number_in(std::initializer_list<const char*> variables, int otherwise) {
    for (const char* name : variables)
        if (const char* text = std::getenv(name)) return std::max(0, std::atoi(text));
    return otherwise;
}

const subbit::communicator* ranks_of_job = nullptr;

}  // namespace

int launched_processes() {
    return number_in({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}, 1);
}

int launched_number() {
    return number_in({"OMPI_COMM_WORLD_RANK", "PMI_RANK"}, 0);
}

const subbit::communicator& job_ranks() {
    return ranks_of_job ? *ranks_of_job : subbit::this_process_alone();
}

void set_job_ranks(const subbit::communicator& ranks) {
    ranks_of_job = &ranks;
}

void require_one_process(const char* command) {
    if (!job_ranks().is_alone())
        throw subbit::value_error(
            fmt::format("{} is the work of one process, but {} were started; compress and "
                        "perplexity are those that several share",
                        command, job_ranks().size()));
}

int threads_of_rank(int asked) {
    const int here = job_ranks().size_here();
    if (asked > 0 || here == 1) return asked;
    // Where the launcher has bound each rank to cores of its own, these are all that a rank sees.
    const int seen = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    return std::max(1, seen / here);
}

}  // namespace llama
