// The folder that a job writes: whose it may be, and whether there is room.
#pragma once

#include "compress/compress.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace llama {

/// What tells a job from others: its options, and hashes of the files that it reads.
nlohmann::json fingerprint_of(const compress_job& job);

/// A fingerprint in a few characters, which a report keeps.
std::string digest_of(const nlohmann::json& fingerprint);

/// Throws unless job.out may be written: it is new, or has no model, or belongs to this same job. A finished run of
/// another job is replaced only where job.replace is set, and a model that this program did not make never. value_error
/// naming the folder and what is in it, io_error where no folder can be made.
void require_own_output(const compress_job& job);

/// io_error naming both sizes unless the disk has room for the files of the estimate; what an interrupted run left
/// counts as room.
void require_disk_space(const compress_job& job, const compress_estimate& expected);

}  // namespace llama
