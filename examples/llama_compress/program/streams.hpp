// The program's own streams: text that cannot be written is an error, and so is a file that shrinks while it is read.
#pragma once

#include <string_view>

namespace llama {

/// Prepares the process: standard streams that are closed stay unusable, and do not become the next file that is
/// opened; a file beyond its limit is an error of that write; and a mapped file that was shortened, and memory that is
/// missing where no exception can tell of it, end the program with one line and status 1.
void guard_streams();

/// Writes text to standard output at once; io_error if it cannot be written.
void print_now(std::string_view text);

/// Writes what standard output still holds; io_error if anything could not be written.
void flush_output();

/// "llama_compress: TEXT" on standard error, in one line. Whether it can be written does not matter.
void print_error(std::string_view text);

/// "llama_compress: not enough memory" likewise, without taking any.
void print_out_of_memory();

/// "llama_compress: note: TEXT" likewise.
void print_note(std::string_view text);

}  // namespace llama
