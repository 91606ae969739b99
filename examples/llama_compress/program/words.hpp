// Words and numbers of the command line, and what is said where one is not known.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace llama {

/// Throws CLI::ParseError for a command or an option that the program does not have, naming it and the nearest one.
void require_known_words(const CLI::App& app, int argc, const char* const* argv);

/// A value that is one of these words; else the message lists them and names the nearest.
CLI::Validator one_of(const std::vector<std::string>& words);

/// A whole number within these bounds; the message names the bounds that there are.
CLI::Validator whole_number(std::int64_t least, std::int64_t most = std::numeric_limits<std::int64_t>::max());

/// A finite number within these bounds.
CLI::Validator number(double least, double most = std::numeric_limits<double>::infinity());

/// A whole number that fits 64 bits without a sign.
CLI::Validator seed_number();

}  // namespace llama
