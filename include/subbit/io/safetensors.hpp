// Model files in and out: reading (one file or sharded, memory-mapped) and writing (atomic) of safetensors.
#pragma once

#include <subbit/io/safetensors_file.hpp>
#include <subbit/io/safetensors_reader.hpp>
#include <subbit/io/safetensors_writer.hpp>
