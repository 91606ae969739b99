// The processes that mpirun has started, if it has.
#pragma once

#include <subbit/distribute/communicator.hpp>

#include <memory>

namespace llama {

/// The ranks of this job: those that a launcher of MPI has started, or this process alone. value_error where there are
/// several and the program was built without MPI.
std::unique_ptr<subbit::communicator> start_ranks();

/// Ends this process, and all other ranks with it, with a status other than 0.
[[noreturn]] void end_ranks(const subbit::communicator& ranks, int status);

/// How many processes a launcher of MPI says that it has started; 1 without one.
int launched_processes();
/// The number of this one among them.
int launched_number();

/// The ranks of this job, once it has any.
const subbit::communicator& job_ranks();
void set_job_ranks(const subbit::communicator& ranks);

/// value_error where the job has several ranks: for commands that are the work of one process.
void require_one_process(const char* command);

/// The threads of this rank: those that were asked for, or else its part of the machine's cores.
int threads_of_rank(int asked);

}  // namespace llama
