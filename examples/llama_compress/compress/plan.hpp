// The phases of a job on a processor and their expected time, from the number of its multiplications.
#pragma once

#include "compress/compress.hpp"
#include "compress/job_sizes.hpp"

#include <vector>

namespace llama {

/// Seconds of every phase of one rank alone, in the order in which the job reports them; `rate` in multiplications and
/// additions a second.
std::vector<planned_phase> plan_of(const job_sizes& sizes, const compress_options& options, double rate);

/// The plan of the job's ranks together, from that of one alone, of which it has the blocks from `first_block` on.
std::vector<planned_phase> shared_plan(std::vector<planned_phase> plan, const compress_job& job,
                                       const block_schema& block, index first_block);

}  // namespace llama
